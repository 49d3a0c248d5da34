//! The types that the modules of `mail` exchange.
//!
//! Purpose: the types of a mail from acceptance to delivery. Nothing here opens a file or a socket,
//! or reads a clock. A value of these types is always valid, so that no module has to check it
//! again. Source: RFC 5321 (envelope, replies), RFC 3463 (enhanced codes), RFC 6531
//! (internationalised addresses).

mod address;
mod admin;
mod body;
mod deliveries;
mod destination;
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
mod reply;
mod route;
mod route_test;
mod route_trace;
mod sessions;
mod status;
mod submission;
mod verdict;

pub use address::{Address, AddressError, Domain};
pub use admin::{
    AdminError, Answer, Asker, DESTINATIONS_MAX, DestinationSummary, Found, Group, Grouping,
    Groups, Obeyed, Order, Paused, Preview, QueueAdmin, QueueSummary, Selection,
};
pub use body::{Body, Content};
pub use deliveries::Deliveries;
pub use destination::{Destination, MailDomain};
pub use encryption::Encryption;
pub use envelope::{BodyType, Envelope, Origin};
pub use event::{
    AddressMask, Delays, Deletion, Delivery, DeliveryAttempt, MailEvent, MailEventSink,
    NotificationKind, Protocol, Rejection, SessionClient,
};
pub use filter::{Filter, Seen, Standing};
pub use history::{Attempt, Ending, Finished, FinishedPage, History, KeptMessage, Wanted};
pub use id::MessageId;
pub use imported::{ContentPieces, ImportedMessage};
pub use message::{Draft, Kind, Message, Progress, Status, Target};
pub use offline::{Damage, Files, Findings, Looked, Meaning, OfflineError, OfflineQueue};
pub use outcome::{LastError, Outcome, Report};
pub use reply::{Class, Enhanced, Reply};
pub use route::{Hop, Route, RouteError};
pub use route_test::{
    ClientVerdict, DestinationStatus, RouteQuestion, RouteReport, RouteTest, TargetReport,
};
pub use route_trace::{HostLookup, HostUse, RouteTrace, TracedHost};
pub use sessions::{RefusedExample, SessionInfo, SessionList};
pub use status::{DeliveryStatus, NoStatus};
pub use submission::{Resubmission, Submission, Submitted, SubmittedEnvelope};
pub use verdict::{Refusal, SESSION_REFUSALS, Verdict};
