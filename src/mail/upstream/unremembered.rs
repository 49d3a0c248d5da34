//! Judges replies as the health of upstreams does, and remembers nothing: for tests of an upstream,
//! which must not stop its mail.

use super::catalogue;
use crate::mail::model::{
    Reply, UpstreamAvailability, UpstreamMonitor, UpstreamRefusal, UpstreamStage, UpstreamStatus,
};

/// A monitor without memory.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unremembered;

impl UpstreamMonitor for Unremembered {
    fn judge(
        &self,
        _upstream: &str,
        stage: UpstreamStage,
        reply: &Reply,
        _sender: &str,
    ) -> Option<UpstreamRefusal> {
        catalogue::judge(stage, reply).map(|(refusal, _)| refusal)
    }

    fn pauses(&self) -> u64 {
        0
    }

    fn accepted(&self, _upstream: &str, _pauses: u64) {}

    fn refused_sender(&self, _upstream: &str, _sender: &str) -> Option<String> {
        None
    }

    fn paused(&self, _upstream: &str) -> Option<(u32, String)> {
        None
    }

    fn availability(&self, _upstream: &str) -> UpstreamAvailability {
        UpstreamAvailability::Open
    }

    fn may_probe(&self, _upstream: &str) -> bool {
        true
    }

    fn unreachable(&self, _upstream: &str, _error: &str) {}

    fn reached(&self, _upstream: &str) {}

    fn ask_again(&self) {}

    fn list(&self) -> Vec<UpstreamStatus> {
        Vec::new()
    }
}
