//! The nouns that rooms hand to each other.
//!
//! Purpose: the vocabulary of a mail on its walk. Nothing here opens a file, a socket or reads a clock; a value that
//! exists is valid, so that no room has to check it again.
//! Source: RFC 5321 (envelope, replies), RFC 3463 (enhanced codes), RFC 6531 (internationalised addresses).

mod address;
mod body;
mod carried;
mod desk;
mod doorway;
mod envelope;
mod filter;
mod id;
mod journal;
mod letter;
mod message;
mod notice;
mod outcome;
mod reply;
mod rest;
mod route;
mod verdict;

pub use address::{Address, AddressError, Domain};
pub use body::{Body, Content};
pub use carried::{Carried, Pieces};
pub use desk::{
    Answer, Asker, Desk, DeskError, DestinationSummary, Found, Group, Grouping, Groups, Obeyed, Order, Paused, Preview,
    QueueSummary, Selection,
};
pub use doorway::{Doorway, RefusedExample, SessionSummary};
pub use envelope::{BodyType, Envelope, Origin};
pub use filter::{Filter, Seen, Standing};
pub use id::MessageId;
pub use journal::{Attempt, Ending, Finished, FinishedPage, History, Wanted};
pub use letter::{Letter, Submission, Submitted};
pub use message::{Draft, Kind, Message, Progress, Status, Target};
pub use notice::{Herald, Notice};
pub use outcome::{Outcome, Report};
pub use reply::{Class, Enhanced, Reply};
pub use rest::{Damage, Files, Findings, Looked, Meaning, Rest, RestError};
pub use route::{Hop, Route, RouteError};
pub use verdict::{Refusal, Verdict};
