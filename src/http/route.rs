//! The table of routes: path, methods, required right, and handler. Each module of handlers has its
//! own rows, [`HttpRoutes`] joins them, and so an endpoint is declared in one place.

use super::request::RequestHead;
use super::response::HttpResponse;
use super::rights::RequiredRight;
use super::state::Application;
use hyper::Method;
use hyper::body::Incoming;
use std::future::{Future, ready};
use std::pin::Pin;

/// For reading.
pub(crate) const LOOK: &[Method] = &[Method::GET, Method::HEAD];

/// For changes.
pub(crate) const POST: &[Method] = &[Method::POST];

/// One row.
pub(crate) struct HttpRoute<A: Application> {
    /// `{id}` in it stands for any text up to the next slash, once.
    pub(crate) path: &'static str,
    /// The permitted methods.
    pub(crate) methods: &'static [Method],
    /// The required right.
    pub(crate) need: RequiredRight,
    /// The handler.
    pub(crate) handler: for<'a> fn(RequestContext<'a, A>) -> HandlerFuture<'a>,
}

/// The future of an answer.
pub(crate) type HandlerFuture<'a> = Pin<Box<dyn Future<Output = HttpResponse> + Send + 'a>>;

/// The input of a handler.
pub(crate) struct RequestContext<'a, A> {
    pub(crate) app: &'a A,
    pub(crate) visit: &'a RequestHead<'a>,
    /// The value of `{id}`; empty if the path has none.
    pub(crate) id: &'a str,
    pub(crate) content: Incoming,
}

/// An answer that is complete already.
pub(crate) fn at_once<'a>(answer: HttpResponse) -> HandlerFuture<'a> {
    Box::pin(ready(answer))
}

/// Converts an answer into the form for its client.
pub(crate) type Finish<A> = fn(&A, &RequestHead<'_>, HttpResponse) -> HttpResponse;

/// All rows.
pub struct HttpRoutes<A: Application> {
    tables: Vec<&'static [HttpRoute<A>]>,
    pub(super) finish: Finish<A>,
}

impl<A: Application> HttpRoutes<A> {
    /// Joins the rows of modules; the first that fits is used.
    pub(crate) fn new(tables: Vec<&'static [HttpRoute<A>]>, finish: Finish<A>) -> Self {
        Self { tables, finish }
    }

    /// The row for a path and a method, with the value of `{id}`; if only the method does not fit,
    /// the first row of the path.
    pub(super) fn find<'a>(
        &self,
        path: &'a str,
        method: &Method,
    ) -> Option<(&'static HttpRoute<A>, &'a str)> {
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

    fn fitting<'a>(&self, path: &'a str) -> impl Iterator<Item = (&'static HttpRoute<A>, &'a str)> {
        let rows = self.tables.iter().flat_map(|table| table.iter());
        rows.filter_map(move |route| fit(route.path, path).map(|id| (route, id)))
    }
}

/// The value of `{id}`; `None` if the path does not fit.
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
