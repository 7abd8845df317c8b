"""The hub's rows."""

from taskhub.models.admission import (
    HUB,
    AdmissionRule,
    AdmissionState,
    AdmissionTurn,
    StartAwaits,
    WaitingReason,
)
from taskhub.models.announcement import Announcement, AnnouncementLevel
from taskhub.models.artifact import Artifact, LeftOutFile, LeftOutReason
from taskhub.models.audit import AuditEntry
from taskhub.models.browser_session import BrowserSession
from taskhub.models.claim import Agent, Claim, ClaimEnd
from taskhub.models.dependency import Dependency
from taskhub.models.environment import (
    Environment,
    EnvironmentAccount,
    EnvironmentCredential,
    EnvironmentSpec,
    EnvironmentVersion,
)
from taskhub.models.evidence import NOT_SUPERSEDED, ExecutionKind, Verdict, VerifyPolicy
from taskhub.models.execution import (
    ACTIVE_STATUSES,
    FOLLOWED,
    SESSION_PREFIX,
    TO_START,
    UNSUCCESSFUL,
    Execution,
    ExecutionStatus,
    Leftover,
)
from taskhub.models.given_file import GivenFile
from taskhub.models.idempotency import IdempotencyKey
from taskhub.models.mail import Mail, MailCursor, MailKind, MailPreference
from taskhub.models.metric import Heartbeat, MetricName, MetricSample, MetricTotal
from taskhub.models.note import Note, NoteKind
from taskhub.models.password_failures import PasswordFailures
from taskhub.models.pending_event import PendingEvent
from taskhub.models.prepared_snapshot import PreparedSnapshot, PreparedState
from taskhub.models.private_reader import NO_ENTRY, PrivateReader
from taskhub.models.process import StreamProcess
from taskhub.models.sandbox_size import RESOURCES, USUAL_SIZE, Lack, Resource, SandboxSize
from taskhub.models.sign_on import BreakGlassAccount, SignOnIdentity
from taskhub.models.stream_connection import Replay, StreamConnection
from taskhub.models.task import (
    CLAIMABLE,
    OFFERED_TO,
    PRIORITY_RANK,
    READY,
    TRANSITIONS,
    WAITING_FOR,
    ClosedAs,
    HasTag,
    Task,
    TaskPriority,
    TaskStatus,
)
from taskhub.models.token import ApiToken, EndedToken
from taskhub.models.webhook import DeliveryStatus, WebhookDelivery, WebhookEndpoint

__all__ = [
    "ACTIVE_STATUSES",
    "CLAIMABLE",
    "FOLLOWED",
    "HUB",
    "NOT_SUPERSEDED",
    "NO_ENTRY",
    "OFFERED_TO",
    "PRIORITY_RANK",
    "READY",
    "RESOURCES",
    "SESSION_PREFIX",
    "TO_START",
    "TRANSITIONS",
    "UNSUCCESSFUL",
    "USUAL_SIZE",
    "WAITING_FOR",
    "AdmissionRule",
    "AdmissionState",
    "AdmissionTurn",
    "Agent",
    "Announcement",
    "AnnouncementLevel",
    "ApiToken",
    "Artifact",
    "AuditEntry",
    "BreakGlassAccount",
    "BrowserSession",
    "Claim",
    "ClaimEnd",
    "ClosedAs",
    "DeliveryStatus",
    "Dependency",
    "EndedToken",
    "Environment",
    "EnvironmentAccount",
    "EnvironmentCredential",
    "EnvironmentSpec",
    "EnvironmentVersion",
    "Execution",
    "ExecutionKind",
    "ExecutionStatus",
    "GivenFile",
    "HasTag",
    "Heartbeat",
    "IdempotencyKey",
    "Lack",
    "LeftOutFile",
    "LeftOutReason",
    "Leftover",
    "Mail",
    "MailCursor",
    "MailKind",
    "MailPreference",
    "MetricName",
    "MetricSample",
    "MetricTotal",
    "Note",
    "NoteKind",
    "PasswordFailures",
    "PendingEvent",
    "PreparedSnapshot",
    "PreparedState",
    "PrivateReader",
    "Replay",
    "Resource",
    "SandboxSize",
    "SignOnIdentity",
    "StartAwaits",
    "StreamConnection",
    "StreamProcess",
    "Task",
    "TaskPriority",
    "TaskStatus",
    "Verdict",
    "VerifyPolicy",
    "WaitingReason",
    "WebhookDelivery",
    "WebhookEndpoint",
]
