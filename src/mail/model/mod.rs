//! The types that the modules of `mail` exchange.
//!
//! Purpose: the types of a mail from acceptance to delivery. Nothing here opens a file or a socket,
//! or reads a clock. A value of these types is always valid, so that no module has to check it
//! again. Source: RFC 5321 (envelope, replies), RFC 3463 (enhanced codes), RFC 6531
//! (internationalised addresses).

mod address;
mod admin;
mod body;
mod configured_host;
mod deliveries;
mod destination;
mod dkim;
mod dsn;
mod encryption;
mod envelope;
mod event;
mod filter;
mod history;
mod id;
mod imported;
mod message;
mod offline;
mod outcome;
mod rate_wait;
mod refusal;
mod reply;
mod route;
mod route_test;
mod route_trace;
mod sender_list;
mod sessions;
mod status;
mod submission;
mod upstream;
mod upstream_group;
mod upstream_test;

pub use address::{Address, AddressError, Domain};
pub use admin::{
    AdminError, AdminFuture, DESTINATIONS_MAX, DestinationSummary, Grouping, OrderResult, Paused,
    Preview, Principal, QueueAdmin, QueueGroup, QueueGroups, QueueOrder, QueuePage, QueueSummary,
    Selection,
};
pub use body::{Body, StoredContent};
pub use configured_host::ConfiguredHost;
pub use deliveries::Deliveries;
pub use destination::{Destination, MailDomain};
pub use dkim::{
    DkimDomainReport, DkimDomainState, DkimKeyState, DkimKeys, DkimNextKeys, DkimReport,
    DkimReportFuture, DkimRetiredKeys, DkimRotateError, DkimRotateFuture, DkimRotation,
    PublishedRecord, RecordVerdict, RotationStep,
};
pub use dsn::{
    DsnNotify, DsnRequest, RecipientDsn, ReturnedContent, is_envelope_id, is_original_recipient,
    xtext_decoded,
};
pub use encryption::Encryption;
pub use envelope::{BodyType, Envelope, Origin};
pub use event::{
    AddressMask, Authentication, Delays, Deletion, Delivery, DeliveryAttempt, MailEvent,
    MailEventSink, NotificationKind, Protocol, Rejection, SessionClient,
};
pub use filter::{Filter, MessageContext, MessageState};
pub use history::{
    AttemptRecord, FinishedMessage, FinishedPage, History, HistoryFilter, KeptMessage,
    RecipientResult,
};
pub use id::MessageId;
pub use imported::{ContentPieces, ImportedMessage};
pub use message::{Message, MessageKind, NewMessage, Target, TargetProgress, TargetStatus};
pub use offline::{
    Damage, DamageMeaning, FileCount, OfflineError, OfflineQueue, VerifyProgress, VerifyReport,
};
pub use outcome::{LastError, Outcome, TransactionReport};
pub use rate_wait::RateWait;
pub use refusal::{Refusal, SESSION_REFUSALS, Verdict};
pub use reply::{Enhanced, Reply, ReplyClass};
pub use route::{MailHost, Route, RouteError};
pub use route_test::{
    ClientVerdict, DestinationStatus, RouteQuestion, RouteReport, RouteTest, TargetReport,
};
pub use route_trace::{HostLookup, HostUse, RouteTrace, TracedHost};
pub use sender_list::SenderList;
pub use sessions::{RefusedExample, SessionInfo, SessionList};
pub use status::{DeliveryStatus, NoStatus};
pub use submission::{Resubmission, Submission, Submitted, SubmittedEnvelope};
pub use upstream::{
    UpstreamAvailability, UpstreamCertificate, UpstreamFailure, UpstreamMails, UpstreamMonitor,
    UpstreamRate, UpstreamRateWait, UpstreamRefusal, UpstreamSession, UpstreamStage,
    UpstreamStatus,
};
pub use upstream_group::UpstreamGroup;
pub use upstream_test::{
    NoUpstreamTest, TestEnvelope, UpstreamProblem, UpstreamQuestion, UpstreamTest,
    UpstreamTestFuture, UpstreamTestReport, UpstreamTestStep,
};
