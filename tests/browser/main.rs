//! The stats page in a real browser: it renders, renews itself, breaks no rule of its own policy, and fits a telephone.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a helper that fails is a test that fails")]

#[path = "../support/desk.rs"]
mod desk;
#[path = "../support/window.rs"]
mod support;

use std::net::SocketAddr;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use support::{TestWindow, busy, run, troubled_queue};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

async fn chromium(arguments: &[&str], url: &str) -> Output {
    let profile = tempfile::tempdir().unwrap();
    let mut command = Command::new("chromium");
    command
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--hide-scrollbars"])
        .args(["--enable-logging=stderr", "--timeout=20000"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .args(arguments)
        .arg(url);
    run(command).await
}

async fn busy_window() -> TestWindow {
    let window = TestWindow::open(troubled_queue(), None).await;
    busy(&window.counters);
    window
}

#[tokio::test]
async fn the_page_renders_and_renews_itself_without_complaints() {
    let window = busy_window().await;
    // Time that the browser makes pass quickly: enough for two renewals.
    let output = chromium(&["--virtual-time-budget=12000", "--dump-dom"], &window.url("/")).await;
    let (page, console) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{console}");
    let complaints: Vec<&str> = console.lines().filter(|line| line.contains("CONSOLE")).collect();
    assert!(complaints.is_empty(), "{complaints:#?}");
    assert!(page.contains(">234<") && page.contains("slow-and-sorry.example"), "{page}");
    // The script ran (it names the state), and no script of a stranger did.
    assert!(page.contains("<span id=\"live\" class=\"\">live</span>"), "{page}");
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"), "{page}");
    assert!(window.desk.pages.load(Ordering::Relaxed) >= 3, "the page does not renew itself");
}

#[tokio::test]
async fn the_page_says_so_when_the_appliance_is_gone() {
    let window = busy_window().await;
    let (desk, stop) = (Arc::clone(&window.desk), window.stop.clone());
    let end = tokio::spawn(async move {
        // The second page was asked for by the script, so it is there; then nobody answers any more.
        while desk.pages.load(Ordering::Relaxed) < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        stop.send(true).unwrap();
    });
    let output = chromium(&["--virtual-time-budget=40000", "--dump-dom"], &window.url("/")).await;
    let page = String::from_utf8_lossy(&output.stdout);
    end.await.unwrap();
    assert!(page.contains("<span id=\"live\" class=\"lost\">no answer from the appliance; trying again</span>"), "{page}");
    assert!(page.contains("slow-and-sorry.example"), "what was known stays on the page");
}

/// Serves copies of the page and its style sheet, and a page that frames the copy at several widths and measures it: the
/// real page lets nobody frame it.
async fn measuring_page(window: &TestWindow, widths: &[u32]) -> SocketAddr {
    let frames: String = widths.iter().map(|width| format!("<iframe src=/copy width={width} height=700></iframe>")).collect();
    let script = "onload = () => { document.title = [...document.querySelectorAll('iframe')].map(f => \
                  f.width + ':' + f.contentDocument.documentElement.scrollWidth).join(' ') }";
    let pages = Arc::new([
        ("/ ", "text/html", format!("<!DOCTYPE html><title>?</title>{frames}<script>{script}</script>")),
        ("/copy ", "text/html", window.curl(&[], "/").await.body.replace("/assets/live.js", "/none")),
        ("/assets/style.css", "text/css", window.curl(&[], "/assets/style.css").await.body),
    ]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let pages = Arc::clone(&pages);
            tokio::spawn(async move {
                let mut request = vec![0; 4096];
                let read = stream.read(&mut request).await.unwrap_or(0);
                let request = String::from_utf8_lossy(&request[..read]).into_owned();
                let page = pages.iter().find(|(path, ..)| request.starts_with(&format!("GET {path}")));
                let (kind, text) = page.map_or(("text/plain", ""), |(_, kind, text)| (kind, text.as_str()));
                let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}; charset=utf-8\r\nConnection: close\r\n\r\n");
                let _ = stream.write_all((head + text).as_bytes()).await;
            });
        }
    });
    address
}

#[tokio::test]
async fn the_page_fits_telephones_and_desks() {
    let window = busy_window().await;
    let widths = [320, 390, 600, 768, 1024, 1280];
    let address = measuring_page(&window, &widths).await;
    let output = chromium(&["--virtual-time-budget=5000", "--dump-dom"], &format!("http://{address}/")).await;
    let page = String::from_utf8_lossy(&output.stdout);
    let wanted: Vec<String> = widths.iter().map(|width| format!("{width}:{width}")).collect();
    assert!(page.contains(&format!("<title>{}</title>", wanted.join(" "))), "{page}");
}
