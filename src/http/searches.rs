//! Limits searches of the queue and of the history, because each occupies a processor for a while.
//! Route tests have a set of their own.
//!
//! A visitor has one at a time, and must pause as long as it took, but at most [`REST_MAX`], before
//! the next; a set may have a least pause, for what costs others more than this processor. There
//! are few in total. Limits: [`SEARCHES_MAX`] at the same time, [`WAITING_MAX`]
//! more of one visitor wait, none longer than [`PATIENCE`]; pauses are kept for at most
//! [`VISITORS_MAX`] visitors.

use crate::ground::lock::{Guard, Lock};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};

/// Searches at the same time.
pub const SEARCHES_MAX: usize = 2;

/// Searches of one visitor that wait for the one in progress.
pub const WAITING_MAX: usize = 3;

/// How long a search waits for its turn.
pub const PATIENCE: Duration = Duration::from_secs(3);

/// No pause is longer: a client that repeats at once, as a browser after a redirect, still gets a
/// turn within [`PATIENCE`].
const REST_MAX: Duration = Duration::from_millis(1500);

/// Visitors that are remembered, at most.
const VISITORS_MAX: usize = 1024;

/// Shorter searches cause no pause.
const SHORT: Duration = Duration::from_millis(50);

/// The pause after each route test: the queries of a short one cost name servers as much as those
/// of a long one.
pub(crate) const ROUTE_TEST_REST: Duration = Duration::from_secs(1);

/// All searches.
pub(crate) struct Searches {
    /// No pause is shorter.
    rest_min: Duration,
    turns: Arc<Semaphore>,
    visitors: Lock<HashMap<String, Visitor>>,
}

#[derive(Clone)]
struct Visitor {
    turn: Arc<Semaphore>,
    here: usize,
    rests_until: Instant,
}

/// The permission to search, until it is dropped.
pub(crate) struct Search<'a> {
    searches: &'a Searches,
    visitor: String,
    begun: Option<(Instant, OwnedSemaphorePermit, OwnedSemaphorePermit)>,
}

impl Default for Searches {
    fn default() -> Self {
        Self::with_rest(Duration::ZERO)
    }
}

impl Searches {
    /// A set in which no pause is shorter than this one.
    pub(crate) fn with_rest(rest_min: Duration) -> Self {
        let turns = Arc::new(Semaphore::new(SEARCHES_MAX));
        Self { rest_min, turns, visitors: Lock::leaf(HashMap::new()) }
    }

    /// Waits for a turn; `None`: there are too many.
    pub(crate) async fn begin(&self, visitor: &str) -> Option<Search<'_>> {
        let (turn, rests_until) = self.join(visitor)?;
        // From here on its end is always recorded.
        let mut search = Search { searches: self, visitor: visitor.to_owned(), begun: None };
        let waited = async {
            let own = turn.acquire_owned().await.ok()?;
            let rests_until =
                self.lock().get(visitor).map_or(rests_until, |visitor| visitor.rests_until);
            sleep(rests_until.saturating_duration_since(Instant::now())).await;
            let common = Arc::clone(&self.turns).acquire_owned().await.ok()?;
            Some((own, common))
        };
        let (own, common) = timeout(PATIENCE, waited).await.ok()??;
        search.begun = Some((Instant::now(), own, common));
        Some(search)
    }

    fn join(&self, name: &str) -> Option<(Arc<Semaphore>, Instant)> {
        let now = Instant::now();
        let mut visitors = self.lock();
        if visitors.len() >= VISITORS_MAX {
            visitors.retain(|_, visitor| visitor.here > 0 || visitor.rests_until > now);
        }
        if visitors.len() >= VISITORS_MAX && !visitors.contains_key(name) {
            return None;
        }
        let fresh = || Visitor { turn: Arc::new(Semaphore::new(1)), here: 0, rests_until: now };
        let visitor = visitors.entry(name.to_owned()).or_insert_with(fresh);
        if visitor.here > WAITING_MAX {
            return None;
        }
        visitor.here += 1;
        Some((Arc::clone(&visitor.turn), visitor.rests_until))
    }

    fn lock(&self) -> Guard<'_, HashMap<String, Visitor>> {
        self.visitors.lock()
    }
}

impl Drop for Search<'_> {
    fn drop(&mut self) {
        let mut visitors = self.searches.lock();
        let Some(visitor) = visitors.get_mut(&self.visitor) else { return };
        visitor.here -= 1;
        if let Some((begun, ..)) = &self.begun {
            let took = begun.elapsed();
            let rest = if took > SHORT { took.min(REST_MAX) } else { Duration::ZERO };
            visitor.rests_until = Instant::now() + rest.max(self.searches.rest_min);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_visitor_searches_once_at_a_time_and_few_wait() {
        let searches = Arc::new(Searches::default());
        let all: Vec<_> = (0..60)
            .map(|_| {
                let searches = Arc::clone(&searches);
                tokio::spawn(async move {
                    let search = searches.begin("anna").await;
                    sleep(Duration::from_millis(100)).await;
                    search.is_some()
                })
            })
            .collect();
        let begin = Instant::now();
        let mut done = 0;
        for one in all {
            done += usize::from(one.await.unwrap());
        }
        assert_eq!(done, 1 + WAITING_MAX);
        assert!(
            begin.elapsed() >= Duration::from_millis(700),
            "one after the other, with rests: {:?}",
            begin.elapsed()
        );
        assert!(searches.begin("ben").await.is_some());
    }

    /// As a browser that is redirected to the page of a mail that has left the queue.
    #[tokio::test]
    async fn whoever_searched_for_long_gets_another_turn_in_time() {
        let searches = Searches::default();
        let mut search = searches.begin("anna").await.unwrap();
        let (begun, ..) = search.begun.as_mut().unwrap();
        *begun -= Duration::from_secs(5);
        drop(search);
        assert!(searches.begin("anna").await.is_some());
    }

    #[tokio::test]
    async fn a_short_route_test_is_followed_by_a_pause() {
        let tests = Searches::with_rest(ROUTE_TEST_REST);
        let begin = Instant::now();
        for _ in 0..2 {
            assert!(tests.begin("anna").await.is_some());
        }
        assert!(begin.elapsed() >= ROUTE_TEST_REST, "{:?}", begin.elapsed());
        let begin = Instant::now();
        assert!(tests.begin("ben").await.is_some());
        assert!(begin.elapsed() < ROUTE_TEST_REST, "others do not pause");
    }

    #[tokio::test]
    async fn few_are_under_way_in_all() {
        let searches = Searches::default();
        let one = searches.begin("a").await;
        let two = searches.begin("b").await;
        assert!(one.is_some() && two.is_some());
        let begin = Instant::now();
        assert!(searches.begin("c").await.is_none());
        assert!(begin.elapsed() >= PATIENCE);
        drop(one);
        assert!(searches.begin("c").await.is_some());
    }
}
