"""The one place where rooms meet: opens the store, hands everything its clock and its randomness, starts the server.

Dull on purpose: decisions stand where they belong, here they are only plugged together.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Final

from botocore.loaders import Loader
from botocore.model import ServiceModel

from keyturn.authority import (
    access_keys,
    account,
    assume,
    authorization_details,
    credential_report,
    event_history,
    groups,
    instance_profiles,
    login_profiles,
    mfa,
    oidc_providers,
    password_policy,
    policies,
    roles,
    secrets_manager,
    service_last_accessed,
    simulation,
    users,
)
from keyturn.authority.account_settings import EVENT
from keyturn.authority.audit import AuditTrail, Verdict, verify_trail
from keyturn.authority.authentication import Authentication
from keyturn.authority.authority import Authority
from keyturn.authority.authorization import Authorization
from keyturn.authority.entity_uses import EntityUses
from keyturn.authority.guardrails import (
    FREEING_TAG,
    MfaRequired,
    applies,
    mfa_required,
    set_mfa_required,
)
from keyturn.authority.instance import (
    ADMINISTRATOR,
    Credentials,
    agrees_with_mark,
    check_mark,
    ensure_administrator,
    ensure_instance,
    make_private_directory,
    open_master_key,
    read_credentials,
    read_instance,
    recover_administrator,
    refuse_inside_data,
)
from keyturn.authority.last_used import UsageRecorder
from keyturn.authority.mark import MarkFile
from keyturn.authority.master_key import (
    BATCH,
    Rotated,
    ensure_audit_keys,
    read_audit_keys,
    rotate,
    sealer_at_hand,
)
from keyturn.authority.repeats import WINDOW_MS, Repeats
from keyturn.authority.services import Services
from keyturn.authority.storage import access_keys as key_rows
from keyturn.authority.storage import audit_trail as audit_rows
from keyturn.authority.storage import instance as instance_rows
from keyturn.authority.storage import mfa as mfa_rows
from keyturn.authority.storage import usage as usage_rows
from keyturn.authority.storage import users as user_rows
from keyturn.authority.storage.access_keys import IssuedId
from keyturn.authority.storage.audit_trail import AuditHead
from keyturn.authority.storage.instance import Instance
from keyturn.authority.storage.mfa import KeyWithoutFactor
from keyturn.authority.storage.usage import LastUse, Unproved, UsageRow
from keyturn.authority.web_identity import WebIdentities
from keyturn.fetching import fetch
from keyturn.http.account import ACCOUNT_PATH, AccountDoor
from keyturn.http.alerts import AlertDoor, Trusted
from keyturn.http.app import About, App
from keyturn.http.forwarded import ForwardedFrom, networks
from keyturn.http.server import check_exposure, run_server
from keyturn.http.verify import OwnService, VerifyDoor
from keyturn.leaks.alert_desk import Desk
from keyturn.leaks.alert_settings import TABLE, read_alert_settings
from keyturn.leaks.github_alerts import GitHubAlerts
from keyturn.leaks.issuer import IssuerError
from keyturn.leaks.partner_keys import PartnerKeys
from keyturn.model.access_keys import AccessKeyId, AccessKeyPair, AccountId
from keyturn.model.clock import Clock, SystemClock
from keyturn.model.errors import KeyturnError, StoreUnavailableError
from keyturn.model.secrets import Secret
from keyturn.settings import VERIFY_SERVICE, Place, ServeSettings
from keyturn.sigv4.rules import CLOUDTRAIL, IAM, S3, SECRETS_MANAGER, STS, ServiceRules
from keyturn.sigv4.verification import Verifier
from keyturn.store.exclusive_lock import ExclusiveLock
from keyturn.store.interface import Reader, Transaction
from keyturn.store.migrations import migrate, require_current
from keyturn.store.sealing import Purpose, Sealer
from keyturn.store.sqlite import SqliteStore, open_read_only
from keyturn.store.sqlite_backup import backup
from keyturn.wire.contracts import ServiceContract
from keyturn.wire.json import JsonServiceContract

_log = logging.getLogger("keyturn")
_ROOM: Final = "authority"
_USAGE_ROOM: Final = "usage"
_MIGRATIONS: Final = files("keyturn.authority.storage") / "migrations"
_USAGE_MIGRATIONS: Final = files("keyturn.authority.storage") / "usage_migrations"
_RULES: Final = {"iam": IAM, "sts": STS, "secretsmanager": SECRETS_MANAGER, "cloudtrail": CLOUDTRAIL}
_RULES_OF_OWN: Final = {"s3": S3}
"""A team's own service is read as STS is, unless its name is that of one that AWS reads otherwise."""
_HOUSEKEEPING_SECONDS: Final = 0.5
"""How far usage and mark may lag: within the second that is promised."""
_ANSWERED_AGAIN_SECONDS: Final = 10.0
"""After what kept alerts from being answered."""
_MOST_KEYS: Final = 100_000
_MOST_VERIFY_CALLERS: Final = 1_000
_USAGE_RESERVE: Final = 256 * 1024
"""Enough to open the file on a full disk."""
REGISTERED: Final = (
    access_keys,
    account,
    assume,
    authorization_details,
    credential_report,
    event_history,
    groups,
    instance_profiles,
    login_profiles,
    mfa,
    oidc_providers,
    password_policy,
    policies,
    roles,
    secrets_manager,
    service_last_accessed,
    simulation,
    users,
)
"""Importing these registers their operations."""


@dataclass(frozen=True, slots=True)
class Opened:
    """An authority ready to serve, and what keeps its house."""

    authority: Authority
    instance: Instance
    store: SqliteStore
    usage_store: SqliteStore
    mark: MarkFile
    verify: VerifyDoor
    account: AccountDoor
    complaints: dict[str, str] = field(default_factory=dict)
    """What can't be written for the moment, and why: each has been logged."""


# Opening


@lru_cache
def load_contracts(services: tuple[str, ...]) -> Mapping[str, ServiceContract | JsonServiceContract]:
    """The contracts of botocore's own service models, each in the protocol that its service speaks."""
    loader = Loader()
    contracts: dict[str, ServiceContract | JsonServiceContract] = {}
    for service in services:
        model = ServiceModel(loader.load_service_model(service, "service-2"), service_name=service)
        speaks_query = "query" in model.protocols
        contracts[service] = (ServiceContract if speaks_query else JsonServiceContract).from_model(model)
    return contracts


@lru_cache
def known_regions() -> frozenset[str]:
    """Every region of the `aws` partition, as botocore knows them."""
    for partition in Loader().load_data("endpoints")["partitions"]:
        if partition["partition"] == "aws":
            return frozenset(partition["regions"])
    raise LookupError("botocore's endpoints have no partition 'aws'")


@asynccontextmanager
async def opened_store(
    place: Place, clock: Clock, random_bytes: Callable[[int], bytes], account_id: AccountId | None
) -> AsyncIterator[tuple[SqliteStore, Instance, Sealer]]:
    """The store with its instance and master key, for the only writer. The lock is freed even by kill -9."""
    make_private_directory(place.data_dir)
    async with _locked_store(place, clock) as store:
        instance = await ensure_instance(store, clock.now_ms(), random_bytes, account_id)
        key_file = place.key_file(instance.instance_id)
        sealer = await open_master_key(store, instance, key_file, place.data_dir, random_bytes)
        # Read again: the first start has just given it a master key.
        yield store, read_instance(store) or instance, sealer


@asynccontextmanager
async def _locked_store(place: Place, clock: Clock) -> AsyncIterator[SqliteStore]:
    with ExclusiveLock(place.lock):
        migrate(place.database, room=_ROOM, directory=_MIGRATIONS)
        store = SqliteStore(place.database, clock=clock)
        try:
            yield store
        finally:
            await store.close()


@asynccontextmanager
async def opened_authority(
    settings: ServeSettings,
    *,
    clock: Clock | None = None,
    random_bytes: Callable[[int], bytes] = os.urandom,
) -> AsyncIterator[Opened]:
    """The whole authority without its server. On the way out, usage and mark are written."""
    clock = clock or SystemClock()
    place = settings.place
    async with opened_store(place, clock, random_bytes, settings.account_id) as (store, instance, sealer):
        migrate(place.usage_database, room=_USAGE_ROOM, directory=_USAGE_MIGRATIONS)
        keys = await ensure_audit_keys(store, instance, sealer)
        audit = AuditTrail(keys.chain, instance.account_id)
        mark = MarkFile(place.mark_file(instance.instance_id), instance.instance_id, keys.checkpoint)
        await check_mark(
            store,
            instance,
            mark,
            audit,
            clock.now_ms(),
            random_bytes,
            accept_rollback=settings.accept_rollback,
        )
        credentials_file = place.credentials_file(instance.instance_id)
        await ensure_administrator(
            store, instance, sealer, audit, credentials_file, clock.now_ms(), random_bytes
        )
        usage_store = SqliteStore(place.usage_database, clock=clock, reserve_bytes=_USAGE_RESERVE)
        try:
            opened = _assembled(
                settings, store, usage_store, instance, sealer, audit, mark, clock, random_bytes
            )
            try:
                yield opened
            finally:
                await keep_house(opened, is_last=True)
        finally:
            await usage_store.close()


def _assembled(
    settings: ServeSettings,
    store: SqliteStore,
    usage_store: SqliteStore,
    instance: Instance,
    sealer: Sealer,
    audit: AuditTrail,
    mark: MarkFile,
    clock: Clock,
    random_bytes: Callable[[int], bytes],
) -> Opened:
    decoy = _decoy(sealer, instance.account_id, random_bytes)

    def verifier(rules: Mapping[str, ServiceRules], max_keys: int = _MOST_KEYS) -> Verifier:
        regions = frozenset(settings.regions) or known_regions()
        return Verifier(services=rules, regions=regions, max_keys=max_keys, decoy=decoy)

    own_rules = {service: _RULES_OF_OWN.get(service, STS) for service in settings.own_services}
    own = {service: OwnService(rules, verifier({service: rules})) for service, rules in own_rules.items()}
    verify_calls = verifier({VERIFY_SERVICE: STS}, _MOST_VERIFY_CALLERS)
    authentication = Authentication(
        store,
        verifier({service: _RULES[service] for service in settings.services}),
        sealer,
        instance.account_id,
        WebIdentities(store, clock, instance.account_id, fetch),
        (verify_calls, *(service.verifier for service in own.values())),
    )
    services = Services(
        account_id=instance.account_id,
        sealer=sealer,
        random_bytes=random_bytes,
        usage=UsageRecorder(usage_store),
        entity_uses=EntityUses(usage_store),
        repeats=_repeats(store, usage_store, clock.now_ms()),
        authorization=Authorization(),
        forget_key=authentication.forget_key,
        forget_user=authentication.forget_user,
    )
    authority = Authority(store, clock, authentication, services, audit)
    verify = VerifyDoor(authority, verify_calls, own)
    account = AccountDoor(authority, verify_calls)
    return Opened(authority, instance, store, usage_store, mark, verify, account)


def _decoy(
    sealer: Sealer, account_id: AccountId, random_bytes: Callable[[int], bytes]
) -> Callable[[], Secret]:
    """A sealed secret of no key: opening it makes an unknown key cost what a known one costs."""
    secret = Secret(random_bytes(20).hex().encode())
    sealed = sealer.seal(secret, purpose=Purpose.ACCESS_KEY, account_id=account_id, owner="-", name="-")
    return lambda: sealer.unseal(
        sealed, purpose=Purpose.ACCESS_KEY, account_id=account_id, owner="-", name="-"
    )


def _repeats(store: SqliteStore, usage_store: SqliteStore, now: int) -> Repeats:
    """What may still be repeated after a restart: made in the last minute and never seen to sign."""
    repeats = Repeats()
    with store.read() as reader:
        made = key_rows.creations_since(reader, now - WINDOW_MS)
    with usage_store.read() as reader:
        for access_key_id, created_at in made:
            if usage_rows.last_use(reader, access_key_id) is None:
                repeats.note_created(access_key_id, created_at)
    return repeats


# Serving


async def serve(
    settings: ServeSettings,
    *,
    stop: asyncio.Event,
    on_listening: Callable[[str, Opened], None],
    clock: Clock | None = None,
    random_bytes: Callable[[int], bytes] = os.urandom,
) -> None:
    """Serve until `stop` is set; then drain, write usage and mark, and close. `on_listening` gets the URL."""
    proxies = networks(settings.behind_proxy)
    check_exposure(settings.host, tls=settings.tls_cert is not None, behind_proxy=proxies)
    async with opened_authority(settings, clock=clock, random_bytes=random_bytes) as opened:
        contracts = load_contracts(settings.services)
        about = About(version=version("keyturn"))
        ending = threading.Event()
        alerts = _alerts(settings, clock or SystemClock(), ending)
        door = None if alerts is None else alerts.door
        app = App(
            opened.authority, contracts, about, ForwardedFrom(proxies), opened.verify, opened.account, door
        )
        housekeeping = asyncio.create_task(_housekeeping(opened))

        def listening(host: str, port: int) -> None:
            scheme = "http" if settings.tls_cert is None else "https"
            url = f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"
            _write_endpoint(settings.place.endpoint_file, url)
            _rotating(settings, opened.instance, url, ending)
            if alerts is not None:
                _answering(settings, opened.instance, url, alerts.desk, ending)
            on_listening(url, opened)

        try:
            await run_server(
                app,
                host=settings.host,
                port=settings.port,
                tls_cert=settings.tls_cert,
                tls_key=settings.tls_key,
                on_listening=listening,
                stop=stop,
                clock=clock,
            )
        finally:
            ending.set()
            if alerts is not None:
                alerts.desk.end()
            housekeeping.cancel()
            await asyncio.gather(housekeeping, return_exceptions=True)


def _rotating(settings: ServeSettings, instance: Instance, url: str, ending: threading.Event) -> None:
    """The rotation room's loop, if keyturn.toml names users or a schedule: a client of the server, as any other."""
    if settings.file is None or not settings.file.tables.keys() & {"users", "schedule"}:
        return

    def loop() -> None:
        from keyturn.aws_clients import Reach
        from keyturn.rotation.configuration import read_configuration
        from keyturn.rotation.fleet import keep_ticking
        from keyturn.rotation.room import Room, Where

        def signer(reach: Reach) -> AccessKeyPair | None:
            if reach.endpoint_url != url:
                return None
            mine = read_credentials(settings.place.credentials_file(instance.instance_id))
            return AccessKeyPair(mine.access_key_id, mine.secret)

        assert settings.file is not None
        locations = settings.place.locations
        try:
            configuration = read_configuration(settings.file)
            where = Where(locations.state / "rotations", locations.config)
            with Room(where, configuration, environment=os.environ, signer=signer) as room:
                keep_ticking(room, Reach(url, None, "us-east-1"), ending)
        except (KeyturnError, StoreUnavailableError, OSError) as error:
            _log.error("rotations are not carried on: %s", error)

    # A daemon: a rotation that waits for an endpoint must not hold up the end; every start is a recovery.
    threading.Thread(target=loop, name="keyturn-rotations", daemon=True).start()


@dataclass(frozen=True, slots=True)
class _Alerts:
    door: AlertDoor
    desk: Desk


def _alerts(settings: ServeSettings, clock: Clock, ending: threading.Event) -> _Alerts | None:
    """Who takes alerts, if keyturn.toml names a secret for it. A secret that is not there is an error now."""
    if settings.file is None or TABLE not in settings.file.tables:
        return None
    named = read_alert_settings(settings.file, os.environ)
    if not named.takes_any:
        return None
    github, token = None, named.github_token
    if token is not None:
        token.read()
        github = GitHubAlerts(named.github_api_url, token.read)
    trusted = Trusted(
        github_secret=None if named.github_secret is None else named.github_secret.read(),
        github=github,
        webhook_secret=None if named.webhook_secret is None else named.webhook_secret.read(),
        partner_keys=None
        if named.partner_keys_url is None
        else PartnerKeys(named.partner_keys_url, fetch, clock),
    )
    desk = Desk(ending, at_once=named.alerts_at_once)
    return _Alerts(AlertDoor(trusted, desk, clock, per_minute=named.alerts_per_minute), desk)


def _answering(
    settings: ServeSettings, instance: Instance, url: str, desk: Desk, ending: threading.Event
) -> None:
    """The leaks room behind the door of alerts: a client of the server, as any other."""

    def answer() -> None:
        from keyturn.aws_clients import Reach
        from keyturn.rotation.configuration import read_configuration
        from keyturn.rotation.room import Where
        from keyturn.toolroom import keep_answering

        assert settings.file is not None
        locations = settings.place.locations
        while not ending.is_set():
            try:
                mine = read_credentials(settings.place.credentials_file(instance.instance_id))
                keep_answering(
                    desk,
                    Where(locations.state / "rotations", locations.config),
                    locations.state / "incidents",
                    read_configuration(settings.file),
                    Reach(url, None, "us-east-1"),
                    pair=AccessKeyPair(mine.access_key_id, mine.secret),
                )
            except Exception as error:  # noqa: BLE001 - the last line: whoever tells of a leak must hear 503
                desk.is_broken = True
                is_ours = isinstance(error, KeyturnError | IssuerError | StoreUnavailableError)
                _log.error("alerts are not answered: %s", error if is_ours else type(error).__name__)
            ending.wait(_ANSWERED_AGAIN_SECONDS)

    # A daemon, as above.
    threading.Thread(target=answer, name="keyturn-incidents", daemon=True).start()


async def _housekeeping(opened: Opened) -> None:
    never = asyncio.Event()
    while True:
        try:
            await asyncio.wait_for(never.wait(), _HOUSEKEEPING_SECONDS)
        except TimeoutError:
            await keep_house(opened)


async def keep_house(opened: Opened, *, is_last: bool = False) -> None:
    """Write the usage records and the mark. What can't be written now is kept for the next time."""
    try:
        await opened.authority.services.usage.flush()
        await opened.authority.services.entity_uses.flush()
    except StoreUnavailableError as unavailable:
        _complain(opened, "usage records wait in memory", unavailable)
    else:
        opened.complaints.pop("usage records wait in memory", None)
    try:
        await opened.authority.tell_of_refused_identities(is_last=is_last)
    except StoreUnavailableError as unavailable:
        _complain(opened, "the count of refused web identities waits in memory", unavailable)
    else:
        opened.complaints.pop("the count of refused web identities waits in memory", None)
    try:
        with opened.store.read() as reader:
            head = audit_rows.audit_head(reader)
        opened.mark.write(head)
    except (StoreUnavailableError, OSError) as unwritten:
        _complain(opened, f"the mark file {opened.mark.path} can't be written", unwritten)
    else:
        opened.complaints.pop(f"the mark file {opened.mark.path} can't be written", None)


def _complain(opened: Opened, what: str, why: Exception) -> None:
    """Once, and not twice a second for as long as a disk is full; again when it had gone well in between."""
    if opened.complaints.get(what) != str(why):
        opened.complaints[what] = str(why)
        _log.warning("%s: %s", what, why)


def _write_endpoint(path: Path, url: str) -> None:
    temporary = path.with_name(f".{path.name}.new")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(url + "\n")
        temporary.replace(path)
    except OSError as error:
        # On a full disk keys must still be revoked: the server goes on, `keyturn env` may be told an old address.
        _log.warning("the endpoint file %s can't be written: %s", path, error.strerror)


# Beside a running server, or in its place


async def recover(place: Place, replace: str | None) -> tuple[AccessKeyId, Path]:
    """With the server stopped: a new administrator key, and the file that holds it."""
    clock = SystemClock()
    if not place.database.exists():
        raise _no_database(place)
    async with opened_store(place, clock, os.urandom, None) as (store, instance, sealer):
        keys = await ensure_audit_keys(store, instance, sealer)
        audit = AuditTrail(keys.chain, instance.account_id)
        credentials_file = place.credentials_file(instance.instance_id)
        mark = MarkFile(place.mark_file(instance.instance_id), instance.instance_id, keys.checkpoint)
        with _mark_following(store, mark):
            access_key_id = await recover_administrator(
                store, instance, sealer, audit, credentials_file, clock.now_ms(), os.urandom, replace
            )
        return access_key_id, credentials_file


@contextmanager
def _mark_following(store: SqliteStore, mark: MarkFile) -> Iterator[None]:
    """The mark follows what is changed inside. Of data that is older than its mark, `serve` decides."""
    with store.read() as reader:
        follows = agrees_with_mark(reader, mark)
    yield
    if follows:
        with store.read() as reader:
            mark.write(audit_rows.audit_head(reader))


async def rotate_master_key(
    place: Place,
    progress: Callable[[int, int], None],
    *,
    random_bytes: Callable[[int], bytes] = os.urandom,
    batch: int = BATCH,
) -> Rotated:
    """With the server stopped: seal everything with a new master key, or go on where the last run was killed."""
    clock = SystemClock()
    if not place.database.exists():
        raise _no_database(place)
    async with _locked_store(place, clock) as store:
        instance = read_instance(store)
        if instance is None or not instance.is_ready:
            raise _never_started(place)
        path = place.key_file(instance.instance_id).path
        refuse_inside_data(path, instance, place.data_dir)
        sealer = sealer_at_hand(instance, path, random_bytes)
        with store.read() as reader:
            keys = read_audit_keys(reader, instance, sealer)
        mark = MarkFile(place.mark_file(instance.instance_id), instance.instance_id, keys.checkpoint)
        with _mark_following(store, mark):
            return await rotate(store, instance, path, clock.now_ms(), random_bytes, progress, batch=batch)


async def require_mfa(place: Place, required: MfaRequired) -> MfaRequired:
    """With the server stopped: of whom a second factor is required from now on. What was required before.

    Whoever can do this acts as the administrator: `all` is refused while that user has no device. No cache of
    permissions outlives it, for there is none while nothing serves.
    """
    clock = SystemClock()
    if not place.database.exists():
        raise _no_database(place)
    async with opened_store(place, clock, os.urandom, None) as (store, instance, sealer):
        keys = await ensure_audit_keys(store, instance, sealer)
        audit = AuditTrail(keys.chain, instance.account_id)
        mark = MarkFile(place.mark_file(instance.instance_id), instance.instance_id, keys.checkpoint)

        def change(tx: Transaction) -> MfaRequired:
            administrator = user_rows.user_by_name(tx, instance.account_id, ADMINISTRATOR)
            before = mfa_required(tx, instance.account_id)
            by = None if administrator is None else administrator.user_id
            set_mfa_required(tx, instance.account_id, required, by=by)
            audit.append_event(
                tx,
                EVENT,
                clock.now_ms(),
                os.urandom,
                mfaRequired=required.value,
                mfaRequiredBefore=before.value,
            )
            return before

        with _mark_following(store, mark):
            return await store.write(change)


def ask_server_to_require_mfa(
    place: Place, required: MfaRequired, ask_code: Callable[[], str]
) -> MfaRequired:
    """The same while the server runs: a signed call as its administrator. What was required before.

    `ask_code` is asked for a code if the administrator has an MFA device.
    """
    from keyturn.signed_calls import Signer, told_by_endpoint

    here = reach(place)
    signer = Signer(here.endpoint_url, here.credentials.access_key_id, here.credentials.secret)
    with told_by_endpoint():
        serial_number = signer.own_device()
        if serial_number is not None:
            code = ask_code()
            if not (len(code) == 6 and code.isascii() and code.isdigit()):
                raise KeyturnError(
                    f"a code of six digits is needed, of the MFA device {serial_number}",
                    "type it when it is asked for, or give it on stdin",
                )
            signer = signer.with_second_factor(serial_number, code)
        answer = signer.post_json(ACCOUNT_PATH.decode(), VERIFY_SERVICE, {"mfa_required": required.value})
    return MfaRequired(str(answer["before"]))


def _never_started(place: Place) -> KeyturnError:
    return KeyturnError(
        f"the authority in {place.data_dir} was never started to the end", "run `keyturn serve`"
    )


def _no_database(place: Place) -> KeyturnError:
    return KeyturnError(
        f"there is no authority in {place.data_dir}",
        "start one with `keyturn serve`, or name its directory with --data-dir",
    )


@contextmanager
def _reading(place: Place) -> Iterator[tuple[Reader, Instance]]:
    if not place.database.exists():
        raise _no_database(place)
    with open_read_only(place.database) as reader:
        require_current(reader, room=_ROOM, directory=_MIGRATIONS)
        instance = instance_rows.instance(reader)
        if instance is None or not instance.is_ready:
            raise _never_started(place)
        yield reader, instance


@dataclass(frozen=True, slots=True)
class Reach:
    """What a client needs to reach the authority of a place as its administrator."""

    endpoint_url: str
    credentials: Credentials
    account_id: AccountId


def reach(place: Place) -> Reach:
    with _reading(place) as (_reader, instance):
        credentials = read_credentials(place.credentials_file(instance.instance_id))
        account_id = instance.account_id
    try:
        endpoint_url = place.endpoint_file.read_text().strip()
    except FileNotFoundError:
        raise KeyturnError(
            f"the authority in {place.data_dir} has never listened", "run `keyturn serve`"
        ) from None
    return Reach(endpoint_url, credentials, account_id)


@dataclass(frozen=True, slots=True)
class KeyUsage:
    issued: IssuedId
    last_used: LastUse | None
    rows: list[UsageRow]
    unproved: Unproved | None


def usage_of(place: Place, access_key_id: str) -> KeyUsage:
    """Who used a key, read beside the running server; at most a second behind."""
    with _reading(place) as (reader, _instance):
        issued = key_rows.issued_id(reader, access_key_id)
    if issued is None:
        raise KeyturnError(
            f"no key {access_key_id} was ever issued here", "list the keys with `keyturn key list`"
        )
    with open_read_only(place.usage_database) as reader:
        return KeyUsage(
            issued,
            usage_rows.last_use(reader, issued.access_key_id),
            usage_rows.usage_of(reader, access_key_id),
            usage_rows.unproved_of(reader, access_key_id),
        )


def verify_audit(place: Place, progress: Callable[[int, int], None]) -> tuple[Verdict, AuditHead | None]:
    """Walk the chain over one snapshot, beside a running server."""
    # The mark first: the trail may grow while we look, a mark read later could be ahead of the snapshot.
    with _reading(place) as (reader, instance):
        path = place.key_file(instance.instance_id).path
        sealer = sealer_at_hand(instance, path, os.urandom)
        keys = read_audit_keys(reader, instance, sealer)
        mark = MarkFile(place.mark_file(instance.instance_id), instance.instance_id, keys.checkpoint).read()
    with _reading(place) as (reader, _instance):
        return verify_trail(reader, keys.chain, mark, progress), mark


@dataclass(frozen=True, slots=True)
class AccountSettings:
    account_id: AccountId
    alias: str | None
    mfa_required: MfaRequired


def account_settings(place: Place) -> AccountSettings:
    """What the account has set for itself, beside a running server."""
    with _reading(place) as (reader, instance):
        return AccountSettings(
            instance.account_id,
            instance_rows.account_alias(reader, instance.account_id),
            mfa_required(reader, instance.account_id),
        )


@dataclass(frozen=True, slots=True)
class MfaReport:
    required: MfaRequired
    keys: list[tuple[KeyWithoutFactor, bool]]
    """Each with whether the account's setting holds its user to a second factor now."""


def mfa_report(place: Place) -> MfaReport:
    """The active keys of users without a second factor, from one snapshot, beside a running server."""
    with _reading(place) as (reader, instance):
        required = mfa_required(reader, instance.account_id)
        keys = mfa_rows.keys_without_factor(reader, instance.account_id, FREEING_TAG)
    return MfaReport(required, [(key, _is_held(required, key)) for key in keys])


def _is_held(required: MfaRequired, key: KeyWithoutFactor) -> bool:
    tags = ((FREEING_TAG, ""),) if key.is_freed else ()
    return applies(required, has_login_profile=key.has_login_profile, tags=tags)


def back_up(place: Place, target: Path, progress: Callable[[int, int], None]) -> None:
    """A copy of the database with its sealed rows; never the key file, the credentials or the mark."""
    with _reading(place):
        backup(place.database, target, progress)
