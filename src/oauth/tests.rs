//! The keeper with an endpoint that counts; real endpoints are in `tests/upstream`.

use super::*;
use crate::ground::disk::DirectoryDisk;
use crate::ground::tls::verifying_client;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::sleep;

/// An endpoint that gives `token-1`, `token-2` and so on, and `refresh-1` and so on to those that
/// have a refresh token.
#[derive(Clone)]
struct Counting {
    asked: Arc<Lock<Vec<String>>>,
    /// The status of the next answers, and the life of tokens.
    answers: Arc<Lock<(u16, u32)>>,
}

impl Counting {
    async fn start(life: u32) -> (Self, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/token", listener.local_addr().unwrap());
        let own = Self {
            asked: Arc::new(Lock::leaf(Vec::new())),
            answers: Arc::new(Lock::leaf((200, life))),
        };
        let endpoint = own.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = vec![0; 4096];
                let length = stream.read(&mut request).await.unwrap();
                let text = String::from_utf8_lossy(&request[..length]).into_owned();
                let content = text.split_once("\r\n\r\n").unwrap().1.to_owned();
                let is_refresh = content.contains("grant_type=refresh_token");
                let number = {
                    let mut asked = endpoint.asked.lock();
                    asked.push(content);
                    asked.len()
                };
                sleep(Duration::from_millis(100)).await;
                let (status, life) = *endpoint.answers.lock();
                let rotated = if is_refresh {
                    format!(r#","refresh_token":"refresh-{number}""#)
                } else {
                    String::new()
                };
                let json =
                    format!(r#"{{"access_token":"token-{number}","expires_in":{life}{rotated}}}"#);
                let length = json.len();
                let answer = format!(
                    "HTTP/1.1 {status} X\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n\
                    {json}"
                );
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        (own, url)
    }

    fn count(&self) -> usize {
        self.asked.lock().len()
    }

    fn last(&self) -> String {
        self.asked.lock().last().unwrap().clone()
    }
}

fn config(url: &str, refresh_token: Option<&str>) -> TokenConfig {
    TokenConfig {
        endpoint: url.parse().unwrap(),
        tls: verifying_client(Vec::new()).unwrap(),
        client_id: "client".to_owned(),
        client_secret: Some(Secret::new("s3cret".to_owned())),
        refresh_token: refresh_token.map(|token| Secret::new(token.to_owned())),
        scope: None,
    }
}

fn keeper(config: TokenConfig, directory: &TempDir) -> Arc<TokenKeeper> {
    let disk = Arc::new(DirectoryDisk::open(directory.path()).unwrap());
    let counters = OAuthCounters::alone().unwrap();
    Arc::new(TokenKeeper::new("default", config, disk, counters))
}

async fn token(keeper: &TokenKeeper) -> String {
    keeper.token(None).await.unwrap().expose().to_owned()
}

#[tokio::test]
async fn all_who_want_a_token_wait_for_one_request_and_share_what_it_brings() {
    let (endpoint, url) = Counting::start(3600).await;
    let directory = tempfile::tempdir().unwrap();
    let keeper = keeper(config(&url, None), &directory);
    let waiters: Vec<_> = (0..20)
        .map(|_| {
            let keeper = keeper.clone();
            tokio::spawn(async move { token(&keeper).await })
        })
        .collect();
    for waiter in waiters {
        assert_eq!(waiter.await.unwrap(), "token-1");
    }
    assert_eq!(token(&keeper).await, "token-1");
    assert_eq!(endpoint.count(), 1);
    assert_eq!(
        endpoint.last(),
        "grant_type=client_credentials&client_id=client&client_secret=s3cret"
    );
    // Refused: all who show that one get the same other one.
    let refused = Secret::new("token-1".to_owned());
    let both = tokio::join!(keeper.token(Some(&refused)), keeper.token(Some(&refused)));
    assert_eq!((both.0.unwrap().expose(), both.1.unwrap().expose()), ("token-2", "token-2"));
    assert_eq!(keeper.token(Some(&refused)).await.unwrap().expose(), "token-2");
    assert_eq!(endpoint.count(), 2);
    // A changed secret: another token.
    keeper.replace(config(&url, None));
    assert_eq!(token(&keeper).await, "token-2", "nothing has changed");
    keeper.replace(TokenConfig { client_id: "other".to_owned(), ..config(&url, None) });
    assert_eq!(token(&keeper).await, "token-3");
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_the_token_to_the_next() {
    let (endpoint, url) = Counting::start(3600).await;
    let directory = tempfile::tempdir().unwrap();
    let keeper = keeper(config(&url, None), &directory);
    let cut = tokio::time::timeout(Duration::from_millis(20), keeper.token(None)).await;
    assert!(cut.is_err());
    assert_eq!(token(&keeper).await, "token-1");
    assert_eq!(endpoint.count(), 1);
}

#[tokio::test]
async fn a_token_is_renewed_before_its_end_and_used_to_its_end_where_that_fails() {
    let (endpoint, url) = Counting::start(4).await;
    let directory = tempfile::tempdir().unwrap();
    let keeper = keeper(config(&url, None), &directory);
    assert_eq!(token(&keeper).await, "token-1");
    assert_eq!(token(&keeper).await, "token-1");
    // Half of its life has gone, or nearly all of it.
    *endpoint.answers.lock() = (503, 4);
    sleep(Duration::from_millis(2100)).await;
    assert_eq!(token(&keeper).await, "token-1", "still valid");
    assert_eq!(endpoint.count(), 2);
    *endpoint.answers.lock() = (200, 4);
    assert_eq!(token(&keeper).await, "token-3");
    *endpoint.answers.lock() = (503, 4);
    sleep(Duration::from_millis(4100)).await;
    let told = keeper.token(None).await.unwrap_err();
    assert!(!told.is_refusal && told.text.contains("(503)"), "{told}");
}

#[tokio::test]
async fn a_rotated_refresh_token_survives_a_restart_and_yields_to_a_newer_configured_one() {
    let (endpoint, url) = Counting::start(0).await;
    let directory = tempfile::tempdir().unwrap();
    let first = keeper(config(&url, Some("configured")), &directory);
    token(&first).await;
    assert!(endpoint.last().contains("refresh_token=configured&"), "{}", endpoint.last());
    token(&first).await;
    assert!(endpoint.last().contains("refresh_token=refresh-1&"), "{}", endpoint.last());
    drop(first);
    let again = keeper(config(&url, Some("configured")), &directory);
    token(&again).await;
    assert!(endpoint.last().contains("refresh_token=refresh-2&"), "{}", endpoint.last());
    again.replace(TokenConfig { scope: Some("x".into()), ..config(&url, Some("configured")) });
    token(&again).await;
    assert!(endpoint.last().contains("refresh_token=refresh-3&"), "{}", endpoint.last());
    again.replace(config(&url, Some("newer")));
    token(&again).await;
    assert!(endpoint.last().contains("refresh_token=newer&"), "{}", endpoint.last());
    drop(again);
    let newest = keeper(config(&url, Some("newest")), &directory);
    token(&newest).await;
    assert!(endpoint.last().contains("refresh_token=newest&"), "{}", endpoint.last());
}

/// A volume that is full: mail goes on, and the token is written as soon as that is possible.
#[tokio::test]
async fn a_refresh_token_that_cannot_be_stored_is_used_and_stored_later() {
    let (endpoint, url) = Counting::start(0).await;
    let directory = tempfile::tempdir().unwrap();
    let keeper = keeper(config(&url, Some("configured")), &directory);
    // The new file cannot be made where a directory of its name stands.
    let obstacle = directory.path().join("oauth-default.new");
    std::fs::create_dir_all(obstacle.join("x")).unwrap();
    token(&keeper).await;
    assert!(!directory.path().join("oauth-default").exists());
    std::fs::remove_dir_all(&obstacle).unwrap();
    token(&keeper).await;
    assert!(endpoint.last().contains("refresh_token=refresh-1&"), "{}", endpoint.last());
    let stored = std::fs::read_to_string(directory.path().join("oauth-default")).unwrap();
    assert!(stored.contains("refresh-2"), "{stored}");
}
