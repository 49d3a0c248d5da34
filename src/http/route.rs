//! The table of routes: a path, how it may be asked, what the client must be allowed to do, and who
//! answers. Each room of handlers has rows of its own, [`Routes`] joins them, and so an endpoint is
//! declared in one place.

use super::answer::Answer;
use super::rights::Need;
use super::state::Application;
use super::visit::Visit;
use hyper::Method;
use hyper::body::Incoming;
use std::future::{Future, ready};
use std::pin::Pin;

/// For whoever only looks.
pub(crate) const LOOK: &[Method] = &[Method::GET, Method::HEAD];

/// For whoever changes something.
pub(crate) const POST: &[Method] = &[Method::POST];

/// One row.
pub(crate) struct Route<A: Application> {
    /// `{id}` in it stands for anything up to the next slash, once.
    pub(crate) path: &'static str,
    /// How it may be asked.
    pub(crate) methods: &'static [Method],
    /// What a client must be allowed to do.
    pub(crate) need: Need,
    /// Who answers.
    pub(crate) handler: for<'a> fn(Call<'a, A>) -> Handling<'a>,
}

/// An answer under way.
pub(crate) type Handling<'a> = Pin<Box<dyn Future<Output = Answer> + Send + 'a>>;

/// What a handler gets.
pub(crate) struct Call<'a, A> {
    pub(crate) app: &'a A,
    pub(crate) visit: &'a Visit<'a>,
    /// What stands for `{id}`; empty where the path has none.
    pub(crate) id: &'a str,
    pub(crate) content: Incoming,
}

/// An answer that is there already.
pub(crate) fn at_once<'a>(answer: Answer) -> Handling<'a> {
    Box::pin(ready(answer))
}

/// Changes an answer into what its visitor likes to read.
pub(crate) type Finish<A> = fn(&A, &Visit<'_>, Answer) -> Answer;

/// All rows.
pub struct Routes<A: Application> {
    tables: Vec<&'static [Route<A>]>,
    pub(super) finish: Finish<A>,
}

impl<A: Application> Routes<A> {
    /// Joins the rows of rooms, of which the first that fits is taken.
    pub(crate) fn new(tables: Vec<&'static [Route<A>]>, finish: Finish<A>) -> Self {
        Self { tables, finish }
    }

    /// The row for a path and a method, with what stands for `{id}`; where only the method does not
    /// fit, the first for the path.
    pub(super) fn find<'a>(
        &self,
        path: &'a str,
        method: &Method,
    ) -> Option<(&'static Route<A>, &'a str)> {
        let mut fitting = self.fitting(path);
        let first = fitting.next()?;
        if first.0.methods.contains(method) {
            return Some(first);
        }
        Some(fitting.find(|(route, _)| route.methods.contains(method)).unwrap_or(first))
    }

    /// All methods for a path.
    pub(super) fn methods(&self, path: &str) -> Vec<&'static Method> {
        self.fitting(path).flat_map(|(route, _)| route.methods).collect()
    }

    fn fitting<'a>(&self, path: &'a str) -> impl Iterator<Item = (&'static Route<A>, &'a str)> {
        let rows = self.tables.iter().flat_map(|table| table.iter());
        rows.filter_map(move |route| fit(route.path, path).map(|id| (route, id)))
    }
}

/// What stands for `{id}`; `None` where the path does not fit.
fn fit<'a>(pattern: &str, path: &'a str) -> Option<&'a str> {
    let Some((before, behind)) = pattern.split_once("{id}") else {
        return (pattern == path).then_some("");
    };
    let id = path.strip_prefix(before)?.strip_suffix(behind)?;
    (!id.contains('/')).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_fits_with_one_step_for_its_id() {
        assert_eq!(fit("/queue", "/queue"), Some(""));
        assert_eq!(fit("/queue/{id}/text", "/queue/7/text"), Some("7"));
        assert_eq!(fit("/queue/{id}", "/queue/7"), Some("7"));
        assert_eq!(fit("/queue/{id}", "/queue/"), Some(""));
        for wrong in ["/queue/7/text", "/queue", "/queues/7", "/queue/7/"] {
            assert_eq!(fit("/queue/{id}", wrong), None, "{wrong}");
        }
        assert_eq!(
            fit("/queue/{id}/text", "/queue/text"),
            None,
            "what is before and behind does not overlap"
        );
    }
}
