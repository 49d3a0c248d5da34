//! Agents of a destination with a rate: in every order, no more mails are taken than it permits,
//! and none of its permits is lost.

use crate::mail::model::{Destination, MessageId};
use crate::mail::outbound::queue_state::{NewJob, QueueState};
use crate::mail::schedule::{DestinationId, FlowKey, Job, RateRules};
use crate::outgoing::{NOW, PREEMPTIONS, config};
use crate::sync::thread;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

struct Rated {
    state: QueueState,
    sent: AtomicUsize,
}

impl Rated {
    /// An agent that sends what it gets, or puts it back.
    fn agent(&self, id: DestinationId, sends: bool) {
        if let (Some(job), _) = self.state.take(id, false, NOW) {
            if sends {
                self.sent.fetch_add(1, Ordering::Relaxed);
                let _ = self.state.end(job.id, id, None, NOW);
            } else {
                self.state.put_back(id, job, false);
                let _ = self.state.return_permit(id, NOW.into(), NOW.into());
            }
        }
        let _ = self.state.agent_ended(id, (false, true), None, &[], NOW);
    }
}

fn job(id: u64) -> NewJob {
    let job = Job {
        id: MessageId(id),
        accepted_at: NOW,
        attempts: 0,
        delay_warning_sent: false,
        source: FlowKey::default(),
    };
    (Destination::domain("a.example").unwrap(), job, 0)
}

#[test]
fn no_more_mails_are_taken_than_a_rate_permits() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(PREEMPTIONS);
    model.check(|| {
        let state = QueueState::new(config());
        let rule = ("*".to_owned(), "2/min".parse().unwrap());
        state.limit_rates(RateRules::new("destination_rates", [rule]));
        let rated = Arc::new(Rated { state, sent: AtomicUsize::new(0) });
        let _ = rated.state.plan(&[job(1), job(2), job(3), job(4)], NOW);
        let agents: [DestinationId; 3] = std::array::from_fn(|_| rated.state.start(NOW).unwrap().0);
        let threads = [true, true, false].into_iter().zip(agents).map(|(sends, id)| {
            let rated = rated.clone();
            thread::spawn(move || rated.agent(id, sends))
        });
        threads.collect::<Vec<_>>().into_iter().for_each(|thread| thread.join().unwrap());
        // What the one did not send goes now, unless others have sent both.
        let mut wake = rated.state.start(NOW);
        while let Ok((id, _)) = wake {
            rated.agent(id, true);
            wake = rated.state.start(NOW);
        }
        assert_eq!(rated.sent.load(Ordering::Relaxed), 2);
        assert_eq!(wake.unwrap_err(), Some((NOW + 60).into()), "when the next one goes");
        let (id, _) = rated.state.start(NOW + 60).unwrap();
        assert!(rated.state.take(id, false, NOW + 60).0.is_some());
    });
}
