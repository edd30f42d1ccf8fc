"""What protects the messages themselves: proofs, seals, replay, encryption."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from busauth._amqp.consuming.message_rules import MessageRules
from busauth._amqp.options import ConsumerOptions, GuardOptions, Letters
from busauth._arguments import checked_class
from busauth._expiry import PolicyChain
from busauth._messages.proof import ProofDemand, Proofs, ProofSigner, Route
from busauth._messages.provenance import BROKER_STAMP
from busauth._messages.replay import GroupMemory, NoMemory, Remembered, ReplayMemory
from busauth._messages.seal import Seal
from busauth._messages.statements import OperatorRules, Operators
from busauth._tokens.encryption.encryption import Decryption, TokenEncryption
from busauth.clock import Clock
from busauth.errors import ConfigurationError, Transient


@checked_class
@dataclass(frozen=True, slots=True, kw_only=True)
class MessageSecurity:
    """What a guard does for messages next to verifying their tokens.

    Args:
        proofs: whose proofs of publication count, and whether each message needs one.
        signer: signs a proof of each message that is published on somebody's behalf.
        seal: secrets of the consumer group by their ids, under which copies keep what busauth
            writes on them; see `Seal`.
        replay: tells the broker's redeliveries from somebody's copies; needs proofs and a seal.
        encryption: encrypts the token of each message that is published.
        decryption: opens tokens that come encrypted.

    Raises:
        ConfigurationError: a replay memory without proofs or without a seal, or one that forgets
            too early; or keys that cannot seal.
    """

    proofs: Proofs | None = None
    signer: ProofSigner | None = None
    seal: Mapping[str, bytes] | None = field(default=None, repr=False)
    replay: ReplayMemory | None = None
    encryption: TokenEncryption | None = None
    decryption: Decryption | None = None

    def __post_init__(self) -> None:
        if self.replay is not None:
            _check_memory(self.replay, self.proofs)
        if self.replay is not None and self.seal is None:
            raise ConfigurationError(
                "replay: a retry would be taken for a copy: expected seal={key_id: key}, too"
            )

    def proofs_for(self, given: Proofs | None, said: ConsumerOptions) -> Proofs | None:
        """Return whose proofs count for a consumer, None where they are ignored.

        Raises:
            ConfigurationError: the operator asks for proofs, and nobody said whose.
        """
        proofs = self.proofs if given is None else given
        if proofs is None:
            if said.proof in (None, ProofDemand.IGNORED):
                return None
            raise ConfigurationError(f"proof = {said.proof}: expected proofs=Proofs([...])")
        proofs = proofs if said.proof is None else proofs.demanding(said.proof)
        return None if proofs.demand is ProofDemand.IGNORED else proofs

    def sources(self, proofs: Proofs | None, *, stamped: bool) -> frozenset[str]:
        """Return whose word for a published instant can be had.

        Raises:
            ConfigurationError: stamps without a seal, or a publisher that goes by their name.
        """
        if stamped and self.seal is None:
            raise ConfigurationError(
                "broker_stamps: a retry is stamped anew, and only a seal keeps the first stamp: "
                "expected seal={key_id: key}, too"
            )
        stamps = frozenset({BROKER_STAMP} if stamped else ())
        if proofs is not None and BROKER_STAMP in proofs.names:
            raise ConfigurationError(f"a publisher named {BROKER_STAMP}: expected another name")
        return stamps if proofs is None else stamps | proofs.names


def message_rules_of(
    security: MessageSecurity,
    queue: str,
    proofs: Proofs | None,
    routes: Iterable[Route],
    *,
    options: GuardOptions,
    header: str,
    letters: Letters,
    session_claim: str,
) -> MessageRules:
    """Return what a consumer asks of its messages.

    Raises:
        ConfigurationError: a replay memory that forgets earlier than these proofs are stale.
    """
    formerly = options.of(queue).formerly
    return MessageRules(
        proofs=proofs,
        routes=(*(Route("", name) for name in (queue, *formerly)), *routes),
        seal=None if security.seal is None else Seal(queue, security.seal, formerly=formerly),
        replay=_memory_of(security, (*formerly, queue)[0], proofs, options.transient),
        stamped=options.broker_stamps,
        header=header,
        session_claim=session_claim,
        queue=queue,
        formerly=formerly,
        letters=letters.keep_token,
    )


def check_seal(security: MessageSecurity, policies: PolicyChain, letters: Letters) -> None:
    """Refuse policies by which messages come back, where nothing could show that they do.

    Raises:
        ConfigurationError: says which, and what to add.
    """
    keeps = policies.keeps or letters.keep_token is not None
    needing = [name for name, is_so in (("Park", policies.parks), ("keep_token", keeps)) if is_so]
    if needing and security.seal is None:
        raise ConfigurationError(
            f"{' and '.join(needing)}: expected MessageSecurity(seal={{key_id: key}}), or "
            "[messages.seal] in a settings file, too: without a seal, who may write beside the "
            "queue could have anything come back"
        )


def operator_rules_of(
    security: MessageSecurity,
    queue: str,
    operators: Operators | None,
    *,
    options: GuardOptions,
    clock: Clock,
) -> OperatorRules | None:
    """Return on what terms a consumer takes an operator's word, None where it takes none's.

    Raises:
        ConfigurationError: nothing shows which letters are its own, a replay memory forgets too
            early, or the keys of a desk cannot be used.
    """
    if operators is None:
        return None
    if security.seal is None:
        raise ConfigurationError(
            "on_redrive: expected MessageSecurity(seal={key_id: key}), or [messages.seal] in a "
            "settings file, too: without a seal, nothing shows whose work a letter was"
        )
    keep_for = None if security.replay is None else security.replay.keep_for
    queues = frozenset({queue, *options.of(queue).formerly})
    return OperatorRules.of(operators, queues, clock, keep_for)


def _memory_of(
    security: MessageSecurity, group: str, proofs: Proofs | None, transient: Transient
) -> Remembered:
    """Return what remembers a group's messages; its name is the first one that the queue had."""
    if security.replay is None or proofs is None:
        return NoMemory()
    _check_memory(security.replay, proofs)
    return GroupMemory(memory=security.replay, group=group, transient=transient)


def _check_memory(memory: ReplayMemory, proofs: Proofs | None) -> None:
    if proofs is None:
        raise ConfigurationError(
            "replay: nothing tells one message from another: expected proofs=Proofs([...]), too"
        )
    if memory.keep_for < proofs.remember_for:
        raise ConfigurationError(
            f"replay: keep_for={memory.keep_for:g} s, and a proof counts for longer: expected "
            f"Proofs.remember_for, {proofs.remember_for:g} s, or more"
        )
