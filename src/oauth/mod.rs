//! Access tokens for upstreams (OAuth2): requested, kept, and renewed before their end.
//!
//! Purpose: one token serves all connections to an upstream. In: a [`TokenConfig`] from the
//! properties, a newer one at run time, and tokens that the upstream refused. Out: an access token,
//! by the trait [`TokenSource`]; `mail` knows nothing of HTTP. Rules: one request is under way for
//! an upstream at any time, and all who want a token wait for it; a token is renewed
//! [`MARGIN`] before its end, and used to its end where that fails; a token that the upstream
//! refused is not given again. A refresh token that the endpoint gives in place of ours is written
//! to the data volume before its access token is used (`stored_token.rs`). Limits: those of
//! `request.rs`; nothing is kept of a failure. Security: tokens and secrets are in no log, and no
//! text of a failure has them. Source: RFC 6749 §4.4, §5 and §6; RFC 6750.

mod config;
pub mod counters;
mod request;
mod stored_token;

pub use config::TokenConfig;

use crate::ground::clock;
use crate::ground::credential::secret::Secret;
use crate::ground::credential::token_source::{TokenFailure, TokenFuture, TokenSource};
use crate::ground::disk::Disk;
use crate::ground::lock::Lock;
use counters::OAuthCounters;
use request::Grant;
use std::fmt;
use std::sync::Arc;
use stored_token::StoredToken;
use tokio::sync::watch;

/// Seconds before its end at which a token is renewed; of a token with a shorter life, half of it.
pub const MARGIN: u32 = 60;

/// Keeps the access token of one upstream.
pub struct TokenKeeper {
    shared: Arc<Shared>,
}

struct Shared {
    /// The name of the upstream.
    name: String,
    disk: Arc<dyn Disk>,
    counters: Arc<OAuthCounters>,
    state: Lock<State>,
}

struct State {
    config: Arc<TokenConfig>,
    /// The refresh token in use; `None`: the grant is that of client credentials.
    refresh: Option<StoredToken>,
    /// The refresh token in use is not on the data volume yet.
    is_unsaved: bool,
    current: Option<AccessToken>,
    /// The request under way.
    request: Option<watch::Receiver<Option<Result<Secret, TokenFailure>>>>,
}

/// Times are those of the monotonic clock.
#[derive(Clone)]
struct AccessToken {
    secret: Secret,
    renewed_at: u32,
    ends_at: u32,
}

impl TokenKeeper {
    /// A keeper without a token. A refresh token of an earlier run is read from the volume.
    pub fn new(
        name: &str,
        config: TokenConfig,
        disk: Arc<dyn Disk>,
        counters: Arc<OAuthCounters>,
    ) -> Self {
        let refresh = refresh_token(name, &config, &*disk);
        let state = State {
            config: Arc::new(config),
            refresh,
            is_unsaved: false,
            current: None,
            request: None,
        };
        let state = Lock::leaf(state);
        Self { shared: Arc::new(Shared { name: name.to_owned(), disk, counters, state }) }
    }

    /// Uses this from the next request on. `true`: other tokens come from it, and the present one
    /// is dropped.
    pub fn replace(&self, config: TokenConfig) -> bool {
        let shared = &self.shared;
        let configured = shared.state.lock().config.refresh_token.clone();
        let other = (configured != config.refresh_token)
            .then(|| refresh_token(&shared.name, &config, &*shared.disk));
        let mut state = shared.state.lock();
        let is_other = !state.config.is_same(&config);
        if is_other {
            state.current = None;
        }
        if let Some(other) = other {
            (state.refresh, state.is_unsaved) = (other, false);
        }
        state.config = Arc::new(config);
        is_other
    }

    async fn wait(&self, refused: Option<&Secret>) -> Result<Secret, TokenFailure> {
        let now = clock::steady();
        let (mut request, still_valid) = {
            let mut state = self.shared.state.lock();
            state.current.take_if(|token| Some(&token.secret) == refused);
            if let Some(token) = &state.current
                && now < token.renewed_at
            {
                return Ok(token.secret.clone());
            }
            let still_valid = state.current.clone().filter(|token| now < token.ends_at);
            // A task that has ended without a result was cut off.
            state.request.take_if(|request| request.has_changed().is_err());
            let request = state.request.get_or_insert_with(|| self.shared.clone().begin());
            (request.clone(), still_valid)
        };
        let result = match request.wait_for(Option::is_some).await {
            Ok(result) => result.clone(),
            Err(_) => None,
        };
        match (result, still_valid) {
            (Some(Ok(token)), _) => Ok(token),
            (_, Some(token)) => Ok(token.secret),
            (Some(Err(failure)), None) => Err(failure),
            (None, None) => Err(TokenFailure {
                is_refusal: false,
                text: "the request of an access token was cut off".to_owned(),
            }),
        }
    }
}

impl TokenSource for TokenKeeper {
    fn token<'a>(&'a self, refused: Option<&'a Secret>) -> TokenFuture<'a> {
        Box::pin(self.wait(refused))
    }
}

impl Shared {
    /// Starts a request, which goes on when nobody waits for it any more: what it brings is used
    /// by the next one.
    fn begin(self: Arc<Self>) -> watch::Receiver<Option<Result<Secret, TokenFailure>>> {
        let (sender, receiver) = watch::channel(None);
        tokio::spawn(async move {
            let result = self.request().await;
            self.state.lock().request = None;
            let _ = sender.send(Some(result));
        });
        receiver
    }

    async fn request(self: &Arc<Self>) -> Result<Secret, TokenFailure> {
        let (config, refresh, is_unsaved) = {
            let state = self.state.lock();
            (state.config.clone(), state.refresh.clone(), state.is_unsaved)
        };
        if let (Some(refresh), true) = (&refresh, is_unsaved) {
            self.save(refresh).await;
        }
        let start = clock::steady();
        let fetched = request::fetch(&config, refresh.as_ref().map(|one| &one.secret)).await;
        let status = match &fetched {
            Ok(_) => "granted",
            Err(failure) if failure.is_refusal => "refused",
            Err(_) => "failed",
        };
        self.counters.oauth_tokens_total.with_label_values(&[status]).inc();
        let Grant { token, life, refresh_token } = match fetched {
            Ok(grant) => grant,
            Err(failure) => {
                let (upstream, cause) = (&self.name, &failure.text);
                tracing::warn!(target: "mta", upstream, cause, "there is no access token");
                return Err(failure);
            }
        };
        if let (Some(secret), Some(former)) = (refresh_token, refresh)
            && secret != former.secret
        {
            let rotated = StoredToken { secret, ..former };
            self.save(&rotated).await;
            let mut state = self.state.lock();
            if let Some(present) = &mut state.refresh
                && present.configured == rotated.configured
            {
                *present = rotated;
            }
        }
        let mut state = self.state.lock();
        if state.config.is_same(&config) {
            let ends_at = start.saturating_add(life);
            let renewed_at = ends_at - MARGIN.min(life / 2);
            state.current = Some(AccessToken { secret: token.clone(), renewed_at, ends_at });
        }
        Ok(token)
    }

    /// Writes a refresh token to the data volume. Without one mail goes on; the next request tries
    /// it again.
    async fn save(self: &Arc<Self>, token: &StoredToken) {
        let (shared, own) = (self.clone(), token.clone());
        let saved = tokio::task::spawn_blocking(move || own.write(&shared.name, &*shared.disk));
        let saved = match saved.await {
            Ok(saved) => saved.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(cause) = &saved {
            tracing::error!(
                target: "mta", upstream = self.name, cause,
                "a new refresh token cannot be stored on the data volume; a restart before it can \
                loses it"
            );
        }
        self.state.lock().is_unsaved = saved.is_err();
    }
}

/// The refresh token to begin with: that of an earlier run, if it came from the configured one.
fn refresh_token(name: &str, config: &TokenConfig, disk: &dyn Disk) -> Option<StoredToken> {
    let configured = config.refresh_token.as_ref()?;
    let stored = StoredToken::read(name, disk).unwrap_or_else(|error| {
        tracing::error!(
            target: "mta", upstream = name, cause = %error,
            "the refresh token on the data volume cannot be read; the configured one is used"
        );
        None
    });
    let first = StoredToken::first(configured);
    Some(stored.filter(|stored| stored.configured == first.configured).unwrap_or(first))
}

impl fmt::Debug for TokenKeeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenKeeper").field("name", &self.shared.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
