"""What a private node is told: the files in its folder, and its whole environment."""

import secrets
from collections.abc import Iterable
from pathlib import Path

from scripts.broker.installed import search_path
from scripts.broker.ports import LOOPBACK


def furnish(folder: Path, port: int, settings: Iterable[str], plugins: Iterable[str] = ()) -> None:
    """Writes the files that a node reads; `settings` are further lines of its rabbitmq.conf."""
    (folder / "conf.d").mkdir()
    (folder / "env.conf").touch()
    (folder / "plugins").write_text(f"[{','.join(plugins)}].\n")
    (folder / "advanced.config").write_text("[].\n")
    cookie = folder / ".erlang.cookie"
    cookie.touch(0o600)
    cookie.write_text(secrets.token_hex(16))
    lines = (f"listeners.tcp.1 = {LOOPBACK}:{port}", "disk_free_limit.absolute = 50MB", *settings)
    (folder / "rabbitmq.conf").write_text("".join(f"{line}\n" for line in lines))


def environment(folder: Path, port: int, dist_port: int, epmd_port: int) -> dict[str, str]:
    """All of it: no setting of the user or the system may reach a private node."""
    return {
        "PATH": search_path(),
        "LANG": "C.UTF-8",
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "ERL_EPMD_PORT": str(epmd_port),
        "ERL_EPMD_ADDRESS": LOOPBACK,
        "ERL_CRASH_DUMP_BYTES": "0",
        "RABBITMQ_NODENAME": f"busauth-{port}@localhost",
        "RABBITMQ_DIST_PORT": str(dist_port),
        "RABBITMQ_MNESIA_BASE": str(folder / "data"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_LOGS": "-",
        "RABBITMQ_CONF_ENV_FILE": str(folder / "env.conf"),
        "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
        "RABBITMQ_CONFIG_FILES": str(folder / "conf.d"),
        "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "advanced.config"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
    }
