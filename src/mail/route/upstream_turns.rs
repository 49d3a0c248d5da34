//! Which of several upstreams is tried first: by priority, then in turn by weight.
//!
//! Smooth weighted round robin: with the weights 3 and 1 the first comes first in three of four
//! connections, and the fourth is never far away. Turns are counted only among those that are
//! there: an upstream that was away for long does not get all mail when it is back.

use crate::ground::lock::Lock;
use std::cmp::Reverse;

/// The turns of upstreams, by their places in the list of all.
#[derive(Debug, Default)]
pub struct UpstreamTurns {
    weights: Vec<i64>,
    /// How much each is owed, in shares of a connection.
    owed: Lock<Vec<i64>>,
}

impl UpstreamTurns {
    /// Turns for upstreams with these weights.
    pub fn new(weights: impl Iterator<Item = u32>) -> Self {
        let weights: Vec<i64> = weights.map(|weight| i64::from(weight.max(1))).collect();
        let owed = Lock::leaf(vec![0; weights.len()]);
        Self { weights, owed }
    }

    /// The order in which these are tried, given by place and priority. Those after the first of a
    /// priority follow by what they are owed. `counts`: the first has had a turn by this.
    pub fn order(&self, mut places: Vec<(usize, u32)>, counts: bool) -> Vec<usize> {
        if places.len() < 2 {
            return places.into_iter().map(|(place, _)| place).collect();
        }
        let best = places.iter().map(|(_, priority)| *priority).min();
        let is_best = |(_, priority): &&(usize, u32)| Some(*priority) == best;
        let mut owed = self.owed.lock();
        let weight = |place: usize| self.weights.get(place).copied().unwrap_or(1);
        let sharing: Vec<usize> = places.iter().filter(is_best).map(|(place, _)| *place).collect();
        let total: i64 = sharing.iter().map(|place| weight(*place)).sum();
        for place in &sharing {
            if let Some(owed) = owed.get_mut(*place).filter(|_| counts) {
                // Bounded, so that one that came and went is not owed for ever.
                *owed = (*owed + weight(*place)).min(total);
            }
        }
        let due = |place: usize| owed.get(place).copied().unwrap_or_default();
        places.sort_by_key(|(place, priority)| (*priority, Reverse(due(*place))));
        if counts
            && let Some((first, _)) = places.first()
            && let Some(owed) = owed.get_mut(*first)
        {
            *owed -= total;
        }
        places.into_iter().map(|(place, _)| place).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_shares_and_priority_comes_first() {
        let turns = UpstreamTurns::new([3, 1, 9].into_iter());
        let all = || vec![(0, 10), (1, 10), (2, 20)];
        let firsts: Vec<usize> = (0..8).map(|_| turns.order(all(), true)[0]).collect();
        assert_eq!(firsts.iter().filter(|place| **place == 0).count(), 6, "{firsts:?}");
        assert_eq!(firsts.iter().filter(|place| **place == 1).count(), 2, "{firsts:?}");
        assert_ne!(firsts[..4], [0, 0, 0, 0], "the other comes in between");
        assert_eq!(turns.order(all(), true)[2], 2, "the backup is last");
        assert_eq!(turns.order(vec![(2, 20)], true), [2]);
    }

    #[test]
    fn one_that_was_away_is_owed_nothing() {
        let turns = UpstreamTurns::new([1, 1].into_iter());
        (0..1000).for_each(|_| drop(turns.order(vec![(0, 10)], true)));
        let firsts: Vec<usize> =
            (0..10).map(|_| turns.order(vec![(0, 10), (1, 10)], true)[0]).collect();
        assert_eq!(firsts.iter().filter(|place| **place == 1).count(), 5, "{firsts:?}");
    }
}
