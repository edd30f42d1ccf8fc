"""Every kind of finding, by its code: the one place where codes are; docs/doctor.md shows them."""

from collections.abc import Mapping

from busauth.cli.doctor.finding import Finding, Kind, Severity

_SEVERITIES = {"error": Severity.ERROR, "warning": Severity.WARNING, "hint": Severity.HINT}

# code, severity, why it matters, what to do, where the docs tell more
_ROWS: tuple[tuple[str, str, str, str, str], ...] = (
    # --- the configuration itself
    (
        "settings-refused",
        "error",
        "With it the service does not start.",
        "Change what the sentence names.",
        "settings.md#the-file",
    ),
    (
        "policy-impossible",
        "error",
        "A policy that could never accept, or never decide, is a promise that nobody keeps; the "
        "service does not start with it.",
        "Say who proves when a message was published, or take the policy out.",
        "timelines.md#policies-as-timelines",
    ),
    (
        "extra-missing",
        "error",
        "What is configured needs a library that is not installed: the service does not start.",
        "Install the extra that the sentence names.",
        "settings.md#the-file",
    ),
    (
        "variable-unknown",
        "warning",
        "It looks like a setting and is none: what it says is not in force.",
        "Correct its name (two underscores in front of a table's key), or take it away.",
        "settings.md#the-environment",
    ),
    (
        "consumer-unknown",
        "warning",
        "Something is said about a consumer that nobody registered: it is not in force for the one "
        "that was meant.",
        "Write the queue's name as the decorator has it.",
        "settings.md#the-file",
    ),
    (
        "library-old",
        "error",
        "An older version has other rules: PyJWT before 2.12 compares an issuer in part, say.",
        "Install what busauth asks for.",
        "upgrading.md#upgrading",
    ),
    # --- files and secrets
    (
        "key-file-readable",
        "warning",
        "Every user of the machine can read the key, and be whoever it stands for.",
        "chmod o-rwx; in Kubernetes, defaultMode: 0440 and fsGroup.",
        "kubernetes.md#kubernetes",
    ),
    (
        "key-file-writable",
        "error",
        "Others can replace the key by theirs.",
        "chmod go-w.",
        "kubernetes.md#kubernetes",
    ),
    (
        "secret-weak",
        "warning",
        "It is long enough and not random: who guesses it can have anything come back as theirs.",
        "Make one with `openssl rand -base64 48`, add it in front, and drop this one later.",
        "proof.md#seals",
    ),
    (
        "secrets-equal",
        "error",
        "Who has one of them has the other: a publisher could seal, or an old secret is not gone.",
        "Make a secret for each purpose and each id.",
        "proof.md#seals",
    ),
    (
        "key-two-purposes",
        "warning",
        "A key that encrypts and signs gives each protocol a hold on the other (RFC 7517, `use`).",
        "Make a key for each.",
        "encryption.md#rotating-keys",
    ),
    # --- issuers
    (
        "issuer-unreachable",
        "error",
        "Without keys nothing is proven: consumers wait, and a service that starts does not begin.",
        "Let this host reach it: name, route, proxy, firewall, certificate authority.",
        "keys.md#before-the-first-message",
    ),
    (
        "issuer-mismatch",
        "error",
        "Its metadata speaks for another issuer: its tokens will be refused, to the letter.",
        "Set issuer to what the metadata says, if that is the one that is meant.",
        "keys.md#before-the-first-message",
    ),
    (
        "metadata-unusable",
        "error",
        "Its metadata cannot be used, so nobody finds its keys.",
        "Check the issuer's path, or name its keys by jwks_url.",
        "keys.md#before-the-first-message",
    ),
    (
        "unsafe-http",
        "warning",
        "Whoever sits between can replace the issuer's keys, and be anybody.",
        "Use https, or keep it to a network that nobody else is in.",
        "keys.md#plain-http",
    ),
    (
        "development-issuer",
        "error",
        "It signs a token for whoever asks.",
        "Name your identity provider.",
        "running.md#running-a-service",
    ),
    (
        "clock-skew",
        "error",
        "This clock and the issuer's are further apart than the leeway: fresh tokens are refused, "
        "or expired ones count.",
        "Keep both by NTP.",
        "options.md#guardoptions",
    ),
    (
        "clock-drift",
        "warning",
        "The clocks drift apart; the leeway still covers it.",
        "Keep both by NTP.",
        "options.md#guardoptions",
    ),
    (
        "leeway-wide",
        "hint",
        "For so long an expired token counts without any policy, and without a word in the audit.",
        "Leave it at 30 s, and say Grace where late work is to be done.",
        "timelines.md#policies-as-timelines",
    ),
    (
        "audience-is-issuer",
        "warning",
        "An audience that is the issuer's own name is in tokens for everybody, ID tokens or its "
        "userinfo endpoint's: it tells nobody whom a token is for.",
        "Register the API at the issuer, and name that.",
        "issuers.md#keycloak-auth0-entra-id-okta-cognito",
    ),
    (
        "tenants-any",
        "warning",
        "Whoever has a tenant of the provider's may come.",
        "List the tenants, or check `caller.tenant` in allow=.",
        "profiles.md#many-tenants",
    ),
    # --- keys
    (
        "keys-unusable",
        "error",
        "No key fits the algorithms that are allowed: each token is refused.",
        "Compare `algorithms` with what the issuer signs with.",
        "keys.md#before-the-first-message",
    ),
    (
        "key-private-published",
        "error",
        "The set shows the private half, or a secret: anybody can sign.",
        "Have the issuer revoke the key now, and distrust it here.",
        "keys.md#a-key-that-was-compromised",
    ),
    (
        "key-weak",
        "warning",
        "RSA below 2048 bits can be broken; busauth leaves the key out, and refuses its tokens.",
        "Have the issuer rotate to a longer key, or to ES256.",
        "keys.md#an-issuers-keys",
    ),
    (
        "key-id-missing",
        "warning",
        "Among several keys one has no `kid`: no token can name it.",
        "Have the issuer give each key a `kid`.",
        "keys.md#an-issuers-keys",
    ),
    (
        "key-id-double",
        "warning",
        "Two different keys share a `kid`: which of them signed is a guess, and distrusting one "
        "takes the other along.",
        "Have the issuer give each key a `kid` of its own.",
        "keys.md#an-issuers-keys",
    ),
    (
        "key-use-open",
        "hint",
        "Neither `use` nor `key_ops` says what the key is for: one for encryption may pass for one "
        "that signs.",
        'Have the issuer publish "use": "sig".',
        "keys.md#an-issuers-keys",
    ),
    (
        "keys-many",
        "hint",
        "Keys that are never removed stay good for whoever got hold of one.",
        "Have the issuer remove what it no longer signs with, once its last token has expired.",
        "keys.md#a-key-that-is-removed-while-a-message-waits",
    ),
    (
        "key-old",
        "hint",
        "A key of more than two years has had time to leak.",
        "Have the issuer rotate it.",
        "keys.md#an-issuers-keys",
    ),
    (
        "algorithm-unserved",
        "hint",
        "An algorithm is allowed for which there is no key: a typing error, or a leftover.",
        "Allow what the issuer signs with, and nothing else.",
        "keys.md#an-issuers-keys",
    ),
    (
        "jwks-cached-long",
        "hint",
        "Caches between may hand out an old set for so long: a new key is unknown meanwhile, a "
        "stolen one still good.",
        "Have the issuer publish a new key well before it signs with it, or say a shorter max-age.",
        "options.md#jwksoptions",
    ),
    # --- consumers
    (
        "consumers-none",
        "hint",
        "The bus consumes nothing: there is little to look at.",
        "Name the module that registers the consumers.",
        "consumers.md#consumers-and-where-messages-come-in",
    ),
    (
        "demands-nothing",
        "warning",
        "Whoever has any token of the issuer's for this audience may have it done.",
        "Say scopes=, roles=, actors= or allow=.",
        "consumers.md#consumers-and-where-messages-come-in",
    ),
    (
        "prefetch-below-concurrency",
        "warning",
        "No more handlers run at once than deliveries are held.",
        "Set BusOptions(prefetch=...) no lower than concurrency.",
        "options.md#busoptions",
    ),
    (
        "drain-long",
        "warning",
        "Orchestrators kill after 30 s as a rule: handlers would be cut off while they finish.",
        "Set drain below 30 s, or terminationGracePeriodSeconds above it.",
        "kubernetes.md#kubernetes",
    ),
    (
        "deadline-beyond-timeout",
        "error",
        "The broker ends the consumer before the deadline does, and delivers again what runs.",
        "Set the deadline below the broker's consumer timeout, 30 minutes by default.",
        "options.md#guardoptions",
    ),
    (
        "deadline-none",
        "hint",
        "A handler that hangs holds its message until the broker ends the consumer, 30 minutes by "
        "default.",
        "Say deadline=, well below that.",
        "options.md#guardoptions",
    ),
    (
        "late-unrevocable",
        "warning",
        "Expired tokens are accepted, and nobody can take one back.",
        "Give the guard revocations, or accept nothing late.",
        "revocation.md#who-does-what",
    ),
    (
        "feed-forgets-early",
        "error",
        "Revocations are forgotten while a policy still accepts their tokens.",
        "Set FeedOptions(lateness=...) no lower than what policies accept.",
        "options.md#feedoptions",
    ),
    (
        "maximum-age-long",
        "hint",
        "For days a stolen token may be accepted late.",
        "Lower GuardOptions(hard_max_age=...) to what your queues really wait.",
        "options.md#guardoptions",
    ),
    (
        "letters-keep-no-token",
        "hint",
        "A letter without its token can only be sent again with its caller's fresh one.",
        "Say for whom letters keep their tokens, encrypted.",
        "sending-again.md#redrive-dead-letters-the-token-that-they-kept",
    ),
    (
        "replies-to-anybody",
        "warning",
        "Senders choose the queue that gets answers to refused requests: any queue may be filled.",
        "Name the reply queues by a pattern of their own.",
        "options.md#guardoptions",
    ),
    (
        "delivery-limit-low",
        "warning",
        "A few restarts in a row move good messages to the dead letters, past every policy.",
        "Leave delivery_limit at 20, or at 5 at the least.",
        "options.md#busoptions",
    ),
    (
        "plain-tokens-taken",
        "hint",
        "Tokens that come unencrypted are taken as well: who reads the queue reads those.",
        "Set required = true once every publisher encrypts.",
        "encryption.md#encrypt-and-decrypt",
    ),
    (
        "proofs-optional",
        "hint",
        "Whoever can take a proof away is not held by it.",
        'Set demand = "required" once every publisher signs.',
        "proof.md#proof-of-the-publisher",
    ),
    (
        "replay-group-shared",
        "error",
        "Two consumers remember under one name: what one has handled is a copy to the other.",
        "Give each consumer names of its own in `formerly`.",
        "proof.md#replay",
    ),
    (
        "replay-in-process",
        "warning",
        "Each process remembers for itself: a copy that comes to another one is handled again.",
        "Use RedisReplay, which they share.",
        "proof.md#replay",
    ),
    (
        "retired-file-shared",
        "error",
        "Several processes would write one file.",
        "Give each process a file of its own.",
        "replicas.md#several-processes",
    ),
    # --- the broker
    (
        "broker-unreachable",
        "error",
        "Nothing is consumed, and nothing is published.",
        "Let this host reach it: name, port, route, firewall.",
        "connecting.md#how-long-it-may-take",
    ),
    (
        "broker-refused",
        "error",
        "It answers, and waiting does not help.",
        "Do what the sentence says: name, password, virtual host, TLS.",
        "connecting.md#how-long-it-may-take",
    ),
    (
        "broker-plain",
        "warning",
        "Password and tokens cross the network for all to read.",
        "Use amqps://.",
        "tls.md#to-rabbitmq",
    ),
    (
        "broker-guest",
        "error",
        "Everybody knows this name and password.",
        "Make a user for each service, with the rights that it needs.",
        "connecting.md#the-rights-that-each-part-needs",
    ),
    (
        "broker-unverified",
        "error",
        "With no_verify_ssl, whoever sits between is the broker.",
        "Take it out of the URL, and name the authority by cafile.",
        "tls.md#to-rabbitmq",
    ),
    (
        "heartbeat-off",
        "warning",
        "A connection that died without a word is not noticed: the service consumes nothing, and "
        "says that it is ready.",
        "Take heartbeat=0 out of the URL.",
        "connecting.md#connecting",
    ),
    (
        "broker-end-of-life",
        "warning",
        "Nobody mends it any more.",
        "Upgrade to a series that is supported (the table below).",
        "doctor.md#brokers-and-their-end-of-life",
    ),
    (
        "broker-version-low",
        "error",
        "busauth is held to RabbitMQ 3.10 and later; at-least-once dead-lettering begins there.",
        "Upgrade.",
        "doctor.md#brokers-and-their-end-of-life",
    ),
    (
        "stamps-unwritten",
        "error",
        "The guard believes a stamp that the broker does not write: a sender may choose it.",
        "Set message_interceptors.incoming.set_header_timestamp.overwrite = true (RabbitMQ 3.12 "
        "and later), or take broker_stamps out.",
        "proof.md#the-published-instant",
    ),
    (
        "body-limit-above-broker",
        "hint",
        "The broker refuses messages that the guard would still take.",
        "Lower max_body_bytes, or raise the broker's max_message_size.",
        "options.md#guardoptions",
    ),
    (
        "right-missing",
        "error",
        "The service does not start without it, or cannot put a message away.",
        "Give the user the right that is named (rabbitmqctl set_permissions).",
        "connecting.md#the-rights-that-each-part-needs",
    ),
    (
        "queue-missing",
        "error",
        "With declare = false somebody else declares it, and nobody has.",
        "Declare it before the service starts.",
        "connecting.md#the-rights-that-each-part-needs",
    ),
    (
        "letter-queue-missing",
        "error",
        "Nothing is handled before the queues are there that refused messages go to.",
        "Declare those that `Bus.queues` names.",
        "connecting.md#the-rights-that-each-part-needs",
    ),
    (
        "exchange-missing",
        "error",
        "The queue is to receive from an exchange that is not there.",
        "Declare it, and its binding.",
        "connecting.md#connecting",
    ),
    (
        "exchange-differs",
        "error",
        "The exchange is of another type or not durable: the service does not start.",
        "Correct the Binding's kind, or declare the exchange anew.",
        "connecting.md#connecting",
    ),
    (
        "queue-exclusive",
        "error",
        "Another connection has the queue for itself.",
        "Find who declared it exclusive.",
        "connecting.md#connecting",
    ),
    (
        "queue-not-quorum",
        "error",
        "Another type of queue counts no deliveries and is not replicated; the service does not "
        "start.",
        "Move its messages, delete it once it is empty, and let the bus declare it.",
        "connecting.md#connecting",
    ),
    (
        "delivery-limit-differs",
        "error",
        "The queue was declared with another limit: the service does not start.",
        "Set delivery_limit to what the queue has, or declare the queue anew.",
        "options.md#busoptions",
    ),
    (
        "dead-letter-path",
        "error",
        "What the broker gives up goes elsewhere, or nowhere.",
        "Declare the queue anew, with the arguments that the sentence names.",
        "sending-again.md#sending-again",
    ),
    (
        "rejected-bounds",
        "error",
        "Who is not genuine chooses how much is kept: a disk may fill up.",
        "Bound the queue as the sentence says, or set rejected_limit to what it has.",
        "options.md#busoptions",
    ),
    (
        "queue-arguments",
        "error",
        "The queue exists with other arguments: the service does not start.",
        "Delete it once it is empty, or set declare = false.",
        "connecting.md#connecting",
    ),
    (
        "rejected-full",
        "warning",
        "The oldest are being dropped: somebody sends a lot that is not genuine.",
        "Look at them with `busauth.letters`, and find who sends them.",
        "sending-again.md#sending-again",
    ),
    (
        "letters-waiting",
        "hint",
        "Somebody's work was refused, and nobody has looked.",
        "Look at them, send them again, or delete them.",
        "sending-again.md#sending-again",
    ),
    (
        "waiting-expired",
        "warning",
        "The oldest message that waits has an expired token, and the policies accept none so late: "
        "what waits is turned into dead letters.",
        "Add consumers, let tokens live longer, or say Grace or Park.",
        "timelines.md#policies-as-timelines",
    ),
    (
        "token-life-beyond-feed",
        "error",
        "Tokens live longer than the feed remembers: a revocation is forgotten before its token "
        "expires.",
        "Set FeedOptions(token_life=...) to the longest that tokens live.",
        "options.md#feedoptions",
    ),
    # --- the management API
    (
        "management-unreachable",
        "warning",
        "What only the management knows was not looked at.",
        "Check the URL; the broker's user needs the tag `management`.",
        "doctor.md#what-only-the-management-knows",
    ),
    (
        "broker-policy-overrides",
        "warning",
        "A policy of the broker's changes what the queue was declared for: letters may be dropped, "
        "expire, or go elsewhere.",
        "Leave queues of busauth's out of the policy's pattern.",
        "doctor.md#what-only-the-management-knows",
    ),
    (
        "binding-missing",
        "error",
        "Nothing that is published to the exchange gets to the queue.",
        "Bind it, as with declare = false nobody else does.",
        "connecting.md#connecting",
    ),
    (
        "user-administrator",
        "warning",
        "Who gets hold of the service may do anything with the broker.",
        "Give the service a user without tags.",
        "connecting.md#the-rights-that-each-part-needs",
    ),
    (
        "feature-flags-off",
        "warning",
        "The next series does not start while stable feature flags are off.",
        "rabbitmqctl enable_feature_flag all",
        "doctor.md#what-only-the-management-knows",
    ),
    # --- the doctor itself
    (
        "look-unfinished",
        "warning",
        "Something was not looked at to its end: it may hide anything.",
        "Run it again; --seconds gives each look more time.",
        "doctor.md#the-doctor",
    ),
)

KINDS: Mapping[str, Kind] = {
    code: Kind(code, _SEVERITIES[severity], why, todo, f"docs/{link}")
    for code, severity, why, todo, link in _ROWS
}


def finding(code: str, where: str, found: str) -> Finding:
    """Return a finding of a kind.

    Args:
        code: the kind's.
        where: what it is about.
        found: what was found there.
    """
    return Finding(KINDS[code], where, found)


class Findings(list[Finding]):
    """What a look has found so far: it counts, whatever ends the look."""

    def add(self, code: str, where: str, found: str) -> None:
        """Note a finding; see `finding`."""
        self.append(finding(code, where, found))
