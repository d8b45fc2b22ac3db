# SPDX-License-Identifier: Apache-2.0
"""Every message, as a frozen dataclass, and the table of who answers it.

Messages travel as JSON objects. Fields may be added with a default; they are never renamed or given another
meaning. ``VERSION`` grows with additions; a receiver ignores fields that it does not know.

No message carries a secret in clear: connection info is a sealed text or a Barbican reference (``Endpoint``).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

VERSION = "1.0"

Json = Any


# ---- shared parts ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """A platform account as a worker gets it. One of ``sealed`` (ciphertext of the JSON connection info, see
    ``runtime.secrets``) and ``secret_ref`` (Barbican) is set. ``trust``: Keystone's id of the trust under which the
    worker reads the secret and, where the platform is the user's own cloud, acts (``runtime.trusts``). ``token``: for
    the same in a question of the API, the caller's own token and project (``runtime.secrets.Lent``), sealed."""

    type: str
    sealed: str | None = None
    secret_ref: str | None = None
    trust: str | None = None
    token: str | None = None


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """Who writes: the fence. A write whose (task, epoch, session) is not the row's own is stale."""

    task_id: str
    epoch: int
    session_id: str


@dataclass(frozen=True, kw_only=True)
class Effect:
    """An external thing made by an attempt. ``kind``: snapshot, volume, instance, power."""

    key: str
    kind: str
    name: str  # deterministic in the task: "volume/disk-0"
    state: str  # intended, live, gone
    ref: Json = None
    doubtful: bool = False  # intended by an attempt that was cut off: never adopt it (domain.effects)
    owner: str | None = None  # the task that made it, when that is neither this one nor its maker


@dataclass(frozen=True, kw_only=True)
class Error:
    """How an attempt failed. ``code`` is stable, ``message`` is for the user."""

    code: str
    message: str
    retryable: bool = False
    retry_after_seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Overwritten state of one item of a task. ``done`` and ``total`` are bytes or steps; 0 and 0: text only."""

    item: str
    done: int = 0
    total: int = 0
    message: str = ""


@dataclass(frozen=True, kw_only=True)
class Event:
    """Append-only. ``level``: INFO, WARNING, ERROR. ``seq`` grows within the attempt: the receiver drops repeats."""

    seq: int
    level: str
    message: str


# ---- worker -> conductor ---------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Register:
    """A worker process starts a session."""

    host: str
    pid: int
    regions: tuple[str, ...] = ()
    providers: dict[str, list[str]] = field(default_factory=dict)  # name -> capabilities
    schema_digests: dict[str, str] = field(default_factory=dict)  # name -> digest of its schemas
    slots: int = 4
    release: str = ""
    specs: dict[str, Json] = field(default_factory=dict)  # runtime.diagnostics


@dataclass(frozen=True, kw_only=True)
class Registered:
    session_id: str
    lease_seconds: float  # dead when silent for so long, by the database's clock
    sync_seconds: float


@dataclass(frozen=True, kw_only=True)
class Stream:
    """An attempt that moves disk bytes. ``rate``: bytes per second that it has read lately. What budgets may match:
    the storage backends that it reads and writes, and the host that a provider names as the source's."""

    rate: float = 0.0
    source_storage: str | None = None
    destination_storage: str | None = None
    source_host: str | None = None


@dataclass(frozen=True, kw_only=True)
class AttemptReport:
    task_id: str
    epoch: int
    progress: tuple[Progress, ...] = ()
    events: tuple[Event, ...] = ()
    checkpoint: Json = None  # None: unchanged
    stream: Stream | None = None


@dataclass(frozen=True, kw_only=True)
class Sync:
    """Heartbeat and all that is new of all attempts. ``attempts`` lists every running one, even with nothing new."""

    session_id: str
    attempts: tuple[AttemptReport, ...] = ()
    draining: bool = False
    load: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Share:
    """What a stream may use from now on: bytes per second, None for no limit. ``backoff_factor``: it slows down while
    reads take so many times as long as they usually do."""

    task_id: str
    bytes_per_second: float | None = None
    backoff_factor: float | None = None


@dataclass(frozen=True, kw_only=True)
class SyncReply:
    """``accepted`` False: the session is dead; kill all children and register anew. Task ids in the lists. A stream
    that is not among the ``shares`` has no limit."""

    accepted: bool
    cancel: tuple[str, ...] = ()  # ask the attempt to stop
    revoke: tuple[str, ...] = ()  # not yours any more: kill without reverting
    missing: tuple[Assign, ...] = ()  # yours, but you do not run them (a lost message): start
    drain: bool = False
    shares: tuple[Share, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Result:
    """The end of an attempt. ``outcome``: completed, failed, canceled, returned (a draining worker gives it back)."""

    attempt: Attempt
    outcome: str
    outputs: dict[str, Json] = field(default_factory=dict)
    error: Error | None = None
    report: AttemptReport | None = None  # the last progress and events


@dataclass(frozen=True, kw_only=True)
class Ack:
    """``accepted`` False: stale; the writer no longer owns the task."""

    accepted: bool


@dataclass(frozen=True, kw_only=True)
class EffectWrite:
    """Fenced ledger write. ``intended`` before the creation, ``live`` with the reference after it, ``gone`` after
    the removal. For undo and cleanup tasks ``owner`` is the maker's task id. ``doomed``, with ``intended``: the
    attempt that made it is about to remove it again, and asks whether it still may."""

    attempt: Attempt
    effect: Effect
    owner: str | None = None
    doomed: bool = False


@dataclass(frozen=True, kw_only=True)
class EffectAck:
    """``effect``: what the ledger holds now under that key, also when the write was refused: what is live there was
    accepted before, and may be in use by a later attempt."""

    accepted: bool
    effect: Effect | None = None


@dataclass(frozen=True, kw_only=True)
class JournalOpen:
    """An attempt takes over the journal ``name`` of its job, which the conductor keeps. Each opening has a new turn."""

    attempt: Attempt
    name: str


@dataclass(frozen=True, kw_only=True)
class JournalOpened:
    """``before``: the turn of the last writer, 0 for a new journal. ``length``: bytes that are kept."""

    accepted: bool
    before: int = 0
    turn: int = 0
    length: int = 0


@dataclass(frozen=True, kw_only=True)
class JournalRead:
    attempt: Attempt
    name: str
    offset: int


@dataclass(frozen=True, kw_only=True)
class JournalPieces:
    """Some pieces in order, each compressed by zlib, in base64; they end at ``end``."""

    accepted: bool
    pieces: tuple[str, ...] = ()
    end: int = 0


@dataclass(frozen=True, kw_only=True)
class JournalWrite:
    """``size`` bytes at ``offset``, compressed by zlib, in base64. ``draft``: they belong to what shall replace the
    journal; with ``done`` it does, otherwise more follows."""

    attempt: Attempt
    name: str
    turn: int
    offset: int
    size: int
    data: str
    draft: bool = False
    done: bool = True


@dataclass(frozen=True, kw_only=True)
class JournalAck:
    """``accepted`` False: another writer has taken over. ``length``: bytes that are kept now, drafts not counted; a
    piece that does not continue the journal is not taken, and changes nothing."""

    accepted: bool
    length: int = 0


@dataclass(frozen=True, kw_only=True)
class Certify:
    """Asks for a certificate that names the session, for links to other workers. ``request``: PKCS #10, in PEM."""

    session_id: str
    request: str


@dataclass(frozen=True, kw_only=True)
class Certified:
    """PEM. ``certificate`` None: the conductor has no authority, or the session is dead."""

    name: str = ""
    certificate: str | None = None
    authority: str | None = None


@dataclass(frozen=True, kw_only=True)
class RemoteSource:
    """A disk that another worker exports over a link, to one peer. ``name``: what the exporter's certificate says.
    ``lists``: the form (``dataplane.lists``) of the lists of changes and of allocation that the exporter tells over the
    same link; 0: it has none, or is too old to tell. The rest is as of ``dataplane.NbdSource``."""

    host: str
    port: int
    name: str
    export: str = ""
    size: int | None = None
    identity: str | None = None
    bitmap: str | None = None
    base_identity: str | None = None
    lists: int = 0


@dataclass(frozen=True, kw_only=True)
class SourceOpen:
    """A copy asks for its source, whose worker stands elsewhere; again every few seconds for as long as it reads, since
    an export that nobody asks for ends. ``peer``: the name in the certificate of who will read."""

    attempt: Attempt
    item: str
    snapshot: Json
    peer: str


@dataclass(frozen=True, kw_only=True)
class SourceOpened:
    """``accepted`` False: stale. Neither ``source`` nor ``error``: not ready, ask again."""

    accepted: bool
    source: RemoteSource | None = None
    error: Error | None = None


# ---- scheduler / conductor -> worker ---------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Export:
    """Open a source and offer it to ``peer``. The first one starts it, each further one keeps it for a while."""

    task_id: str
    epoch: int
    item: str
    snapshot: Json
    source: Endpoint
    peer: str
    request_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class Exported:
    """As ``SourceOpened``."""

    source: RemoteSource | None = None
    error: Error | None = None


@dataclass(frozen=True, kw_only=True)
class Assign:
    """One attempt. The worker answers nothing: it reports by ``Sync`` and ``Result``."""

    attempt: Attempt
    execution_id: str
    project_id: str
    instance: str
    kind: str  # worker.kinds
    name: str
    item: str | None = None
    order: int = 0  # of the task among those of its instance: what comes later may write over what came before
    inputs: dict[str, Json] = field(default_factory=dict)  # outputs of other tasks, by the names in `takes`
    params: dict[str, Json] = field(default_factory=dict)
    source: Endpoint | None = None
    destination: Endpoint | None = None
    source_environment: dict[str, Json] = field(default_factory=dict)
    destination_environment: dict[str, Json] = field(default_factory=dict)
    network_map: dict[str, Json] = field(default_factory=dict)
    storage_mappings: dict[str, Json] = field(default_factory=dict)
    effects: tuple[Effect, ...] = ()  # of this task so far; for undo and cleanup, the maker's
    checkpoint: Json = None
    request_id: str | None = None
    replica: str | None = None  # the transfer whose replica the run writes or reads; journals go by it
    fence: int = 0  # of the run among those of the replica: what comes later may write over what came before
    apart: bool = False  # a copy whose source another worker has to export (``SourceOpen``)


@dataclass(frozen=True, kw_only=True)
class Cancel:
    """A hint to look at a cancel flag at once; the next ``SyncReply`` says the same."""

    task_ids: tuple[str, ...]


# ---- api -> worker (a call with a time limit, no task) ---------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class ProviderCall:
    """What a platform says now. ``endpoint.type`` names the provider; its connection info is absent for ``schemas``.

    ================ ===================================== =====================================================
    operation        arguments                             value of the reply
    ================ ===================================== =====================================================
    check            none                                  None
    list_instances   environment, marker, limit, name      list of ``InstanceSummary``
    get_instance     environment, name                     ``Instance``
    list_networks    environment                           list of ``Network``
    list_storage     environment                           ``StorageInventory``
    list_options     of (``OptionsOf``), environment,      list of ``Option``, without those that the schema tells
                     names (None: all)
    export_inventory environment                           list of {"summary": ``InstanceSummary``, "instance":
                                                           ``Instance`` or None, "problem": why there is none}
    schemas          none                                  ``Provider.schemas``: part -> schema or None
    ================ ===================================== =====================================================
    """

    operation: str
    endpoint: Endpoint | None = None
    arguments: dict[str, Json] = field(default_factory=dict)
    request_id: str | None = None
    timeout_seconds: float = 60.0


@dataclass(frozen=True, kw_only=True)
class ProviderReply:
    value: Json = None
    error: Error | None = None


# ---- hints -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Wake:
    """Something may be ready. ``what``: advance (conductor), dispatch (scheduler)."""

    what: str
    execution_id: str | None = None


# ---- who answers what ------------------------------------------------------------------------------------------

CONDUCTOR = "coriolis_conductor"
SCHEDULER = "coriolis_scheduler"
WORKER = "coriolis_worker"  # the server name of a worker is its session id

# topic -> {method: (request, reply or None for a cast)}
METHODS: dict[str, dict[str, tuple[type, type | None]]] = {
    CONDUCTOR: {
        "register": (Register, Registered),
        "sync": (Sync, SyncReply),
        "result": (Result, Ack),
        "effect": (EffectWrite, EffectAck),
        "journal_open": (JournalOpen, JournalOpened),
        "journal_read": (JournalRead, JournalPieces),
        "journal_write": (JournalWrite, JournalAck),
        "certify": (Certify, Certified),
        "source_open": (SourceOpen, SourceOpened),
        "wake": (Wake, None),
    },
    SCHEDULER: {
        "wake": (Wake, None),
    },
    WORKER: {
        "assign": (Assign, None),
        "cancel": (Cancel, None),
        "provider": (ProviderCall, ProviderReply),
        "export": (Export, Exported),
    },
}
