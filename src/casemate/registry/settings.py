"""What the machine and the user say about registries: registries.conf, certs.d, credentials, environment.

Only explicit settings make a registry insecure: CASEMATE_INSECURE_REGISTRIES (comma-separated host[:port]) or
``insecure = true`` in registries.conf. Loopback needs no setting. Names without a registry mean docker.io;
search lists are not used, because they let whoever owns the first registry answer for all others.
Sources: containers-registries.conf(5); containers-certs.d(5).
"""

from __future__ import annotations

import os
import ssl

from casemate.errors import Denied, Invalid
from casemate.oci.reference import is_registry, is_repository
from casemate.registry.credentials import CredentialFiles, credential_paths
from casemate.registry.limits import Limits
from casemate.registry.origin import is_loopback

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from casemate.oci.reference import Reference

_API_HOSTS = {"docker.io": "registry-1.docker.io"}
_FILE_LIMIT_BYTES = 1 << 20


class Endpoint:
    """One place that may hold a repository.

    ``host`` is what is connected to, ``registry`` whose credentials are used.
    """

    __slots__ = ("host", "insecure", "is_mirror", "registry", "repository")

    def __init__(
        self, registry: str, repository: str, *, insecure: bool = False, is_mirror: bool = False
    ) -> None:
        self.registry = registry
        self.repository = repository
        self.host = _API_HOSTS.get(registry, registry)
        self.insecure = insecure
        self.is_mirror = is_mirror

    def base_urls(self) -> list[str]:
        """Return the URLs to try, in this order.

        Plain http only for loopback and for what is configured insecure.
        """
        secure, plain = f"https://{self.host}", f"http://{self.host}"
        host = self.host[1:].partition("]")[0] if self.host.startswith("[") else self.host.partition(":")[0]
        if is_loopback(host):
            return [plain, secure]
        return [secure, plain] if self.insecure else [secure]


class RegistryRule:
    """One ``[[registry]]`` table.

    Names below ``prefix`` live at ``location`` and at ``mirrors`` (tried first).
    """

    __slots__ = ("blocked", "insecure", "location", "mirrors", "prefix")

    def __init__(
        self,
        prefix: str,
        *,
        location: str = "",
        insecure: bool = False,
        blocked: bool = False,
        mirrors: Sequence[tuple[str, bool]] = (),
    ) -> None:
        self.prefix = prefix
        self.location = location or prefix
        self.insecure = insecure
        self.blocked = blocked
        self.mirrors = tuple(mirrors)

    def matches(self, name: str) -> bool:
        """Tell whether the rule is about ``name``: by whole path components or by ``*.domain``."""
        if self.prefix.startswith("*."):
            return name.partition("/")[0].partition(":")[0].endswith(self.prefix[1:])
        return name == self.prefix or (name.startswith(self.prefix) and name[len(self.prefix)] in "/:")


class Settings:
    """Everything that decides how a registry is spoken to. Built by ``load_settings`` or by hand."""

    def __init__(
        self,
        *,
        insecure: Sequence[str] = (),
        token_realms: Sequence[str] = (),
        rules: Sequence[RegistryRule] = (),
        cert_dirs: Sequence[str] = (),
        credentials: CredentialFiles | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.insecure = frozenset(insecure)
        self.token_realms = frozenset(token_realms)
        self.rules = tuple(sorted(rules, key=lambda rule: len(rule.prefix), reverse=True))
        self.cert_dirs = tuple(cert_dirs)
        self.credentials = credentials or CredentialFiles(())
        self.limits = limits or Limits()

    def endpoints(self, reference: Reference, *, mirrors: bool = True) -> list[Endpoint]:
        """Return where ``reference`` may be found, mirrors first.

        Raises: Denied when its registry is blocked.
        """
        rule = next((rule for rule in self.rules if rule.matches(reference.name)), None)
        if rule is None:
            insecure = reference.registry in self.insecure
            return [Endpoint(reference.registry, reference.repository, insecure=insecure)]
        if rule.blocked:
            raise Denied("use registry", rule.prefix, "registries.conf blocks it")
        found = []
        places = [*((place, insecure, True) for place, insecure in rule.mirrors if mirrors)]
        places.append((rule.location, rule.insecure or reference.registry in self.insecure, False))
        for location, insecure, is_mirror in places:
            rest = "" if rule.prefix.startswith("*.") else reference.name[len(rule.prefix) :]
            registry, _, repository = (location + rest if rest else reference.name).partition("/")
            if not is_registry(registry) or not is_repository(repository):
                raise Invalid("use registry", location, "the location in registries.conf is malformed")
            found.append(Endpoint(registry, repository, insecure=insecure, is_mirror=is_mirror))
        return found

    def tls_context(self, host: str, *, insecure: bool = False) -> ssl.SSLContext:
        """Return the TLS context for ``host`` (host[:port]) with what certs.d holds for it.

        Raises: Invalid.
        """
        context = ssl.create_default_context()
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        for folder in self.cert_dirs:
            _add_certificates(context, os.path.join(folder, host))
        return context


def load_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Return the settings of this user on this machine. Raises: Invalid for a malformed registries.conf."""
    env = os.environ if environ is None else environ
    home = env.get("HOME") or os.path.expanduser("~")
    config_home = env.get("XDG_CONFIG_HOME") or os.path.join(home, ".config")
    rules: dict[str, RegistryRule] = {}
    for path in _registries_files(env, config_home):
        for rule in _read_rules(path):
            rules[rule.prefix] = rule
    return Settings(
        insecure=_names(env.get("CASEMATE_INSECURE_REGISTRIES", "")),
        token_realms=_names(env.get("CASEMATE_TOKEN_REALMS", "")),
        rules=list(rules.values()),
        cert_dirs=[
            "/etc/docker/certs.d",
            "/etc/containers/certs.d",
            os.path.join(config_home, "containers", "certs.d"),
        ],
        credentials=CredentialFiles(credential_paths(env)),
    )


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _registries_files(env: Mapping[str, str], config_home: str) -> list[str]:
    only = env.get("CONTAINERS_REGISTRIES_CONF")
    if only:
        return [only]
    own = os.path.join(config_home, "containers", "registries.conf")
    files = [own if os.path.exists(own) else "/etc/containers/registries.conf"]
    for folder in ("/etc/containers/registries.conf.d", own + ".d"):
        if os.path.isdir(folder):
            files += [
                os.path.join(folder, name) for name in sorted(os.listdir(folder)) if name.endswith(".conf")
            ]
    return files


def _read_rules(path: str) -> list[RegistryRule]:
    try:
        with open(path, "rb") as file:
            data = file.read(_FILE_LIMIT_BYTES)
    except (FileNotFoundError, PermissionError):
        return []
    import tomllib

    try:
        document = tomllib.loads(data.decode("utf-8"))
    except ValueError as error:
        raise Invalid("read", path, error) from None
    tables = document.get("registry", [])
    if not isinstance(tables, list):
        return []  # the format of 2018 has [registries.insecure] and no such list
    return [_rule(table, path) for table in tables]


def _rule(table: Any, path: str) -> RegistryRule:
    if not isinstance(table, dict):
        raise Invalid("read", path, "a [[registry]] is not a table")
    location = _string(table, "location", path)
    mirrors = table.get("mirror", [])
    if not isinstance(mirrors, list) or not all(isinstance(mirror, dict) for mirror in mirrors):
        raise Invalid("read", path, "mirror is not a list of tables")
    prefix = _string(table, "prefix", path) or location
    if not prefix:
        raise Invalid("read", path, "a [[registry]] has neither prefix nor location")
    return RegistryRule(
        prefix.rstrip("/"),
        location=location.rstrip("/"),
        insecure=table.get("insecure") is True,
        blocked=table.get("blocked") is True,
        mirrors=[
            (_string(mirror, "location", path).rstrip("/"), mirror.get("insecure") is True)
            for mirror in mirrors
        ],
    )


def _string(table: dict[str, Any], key: str, path: str) -> str:
    value = table.get(key, "")
    if not isinstance(value, str):
        raise Invalid("read", path, f"{key} is not a string")
    return value


def _add_certificates(context: ssl.SSLContext, folder: str) -> None:
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return
    for name in names:
        path = os.path.join(folder, name)
        try:
            if name.endswith(".crt"):
                context.load_verify_locations(cafile=path)
            elif name.endswith(".cert"):
                context.load_cert_chain(path, path.removesuffix(".cert") + ".key")
        except (OSError, ssl.SSLError) as error:
            raise Invalid("read certificate", path, error) from None
