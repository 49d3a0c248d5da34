//! A real nginx in front of the server: its default Host, another port, a path that it removes or
//! keeps.

use crate::admin::message;
use crate::support::{Reply, TestUi, access, curl};
use postern::http::Login;
use postern::http::access::Access;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;

/// Debian's nginx, ended with the test.
struct Nginx {
    process: Child,
    address: SocketAddr,
    _directory: tempfile::TempDir,
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // The master process ends its workers on SIGTERM, not when it is killed.
        let _ = Command::new("kill").arg("-TERM").arg(self.process.id().to_string()).status();
        let _ = self.process.wait();
    }
}

impl Nginx {
    async fn start(address: SocketAddr, ui: SocketAddr) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().display();
        let config = format!(
            "daemon off; pid {root}/pid; error_log {root}/error; worker_processes 1;\nevents \
            {{}}\nhttp {{ access_log off;\n\
             client_body_temp_path {root}/body; proxy_temp_path {root}/proxy; fastcgi_temp_path \
             {root}/f; uwsgi_temp_path {root}/u;\n\
             scgi_temp_path {root}/s;\nserver {{ listen {address};\n\
             location /cut/ {{ proxy_pass http://{ui}/; proxy_http_version 1.1; \
             proxy_buffering off; }}\n\
             location /mta {{ proxy_pass http://{ui}; proxy_http_version 1.1; proxy_buffering \
             off; }}\n\
             location / {{ proxy_pass http://{ui}; proxy_set_header X-Forwarded-For \
             $proxy_add_x_forwarded_for; }} }} }}\n"
        );
        let file = directory.path().join("nginx.conf");
        std::fs::write(&file, config).unwrap();
        let process = Command::new("/usr/sbin/nginx")
            .args(["-e", &format!("{root}/error"), "-c"])
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("install Debian's package nginx-light");
        let begin = Instant::now();
        while tokio::net::TcpStream::connect(address).await.is_err() {
            assert!(begin.elapsed() < Duration::from_secs(20), "nginx does not start");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Self { process, address, _directory: directory }
    }

    async fn ask(&self, arguments: &[&str], path: &str) -> Reply {
        curl(
            &[&["--user", "operator:s3cret"], arguments].concat(),
            &format!("http://{}{path}", self.address),
        )
        .await
    }
}

/// nginx before a server whose `ui_url` is nginx's address with a path, or none.
async fn world(path: Option<&str>) -> (TestUi, Nginx) {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let outside = path.map(|path| format!("http://{address}{path}").parse().unwrap());
    let access = Access { outside, ..access(Some(Login::new("operator", "s3cret"))) };
    let ui = TestUi::open_with([message(1, 60, None, &["a@b.example"])], access).await;
    let nginx = Nginx::start(address, ui.address).await;
    (ui, nginx)
}

fn form_token(page: &str) -> String {
    page.split("name=\"csrf\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned()
}

/// The target of a relative URL from a path.
fn resolved(path: &str, link: &str) -> String {
    let mut steps: Vec<&str> = path.split('?').next().unwrap().split('/').collect();
    steps.pop();
    for step in link.split('?').next().unwrap().split('/') {
        match step {
            "." => {}
            ".." => drop(steps.pop()),
            step => steps.push(step),
        }
    }
    steps.join("/")
}

#[tokio::test]
async fn orders_through_nginx_need_ui_url_and_the_words_say_so() {
    for (outside, works) in [(None, false), (Some("/"), true)] {
        let (ui, nginx) = world(outside).await;
        let page = nginx.ask(&[], "/queue").await;
        assert_eq!(page.status, 200);
        assert!(
            page.head.contains("referrer-policy: same-origin"),
            "with no-referrer browsers send Origin: null"
        );
        let form = format!(
            "order=hold&scope=ids&ids=0000000000001&back=/queue&csrf={}",
            form_token(&page.body)
        );
        let origin = format!("Origin: http://{}", nginx.address);
        let reply = nginx.ask(&["--header", &origin, "--data", &form], "/act").await;
        if works {
            assert_eq!(reply.status, 303, "{}", reply.body);
            assert!(reply.head.contains("location: ./queue?done=hold&n=1"), "{}", reply.head);
        } else {
            let host = format!("Host: {}", ui.address);
            assert_eq!(reply.status, 403);
            assert!(
                reply.body.contains(&origin)
                    && reply.body.contains(&host)
                    && reply.body.contains("ui_url"),
                "{}",
                reply.body
            );
        }
        let foreign =
            nginx.ask(&["--header", "Origin: http://evil.example", "--data", &form], "/act").await;
        assert_eq!(foreign.status, 403);
    }
}

#[tokio::test]
async fn the_pages_work_below_a_path_whether_nginx_cuts_it_off_or_not() {
    let (_window, nginx) = world(Some("/mta/")).await;
    for base in ["/cut", "/mta", ""] {
        for page in [
            "/",
            "/queue",
            "/queue/0000000000001",
            "/history",
            "/sessions",
            "/log",
            "/queue?search=b.example",
        ] {
            let path = format!("{base}{page}");
            // nginx uses HTTP/1.0 by default; browsers request a page by their Accept header.
            let reply = nginx.ask(&["--header", "Accept: text/html,*/*"], &path).await;
            assert_eq!(reply.status, 200, "{path}: {}", reply.body);
            let links = reply.body.split(['"']).collect::<Vec<_>>();
            let links = links.windows(2).filter(|pair| {
                ["href=", "src=", "action="].iter().any(|name| pair[0].ends_with(name))
            });
            let links: Vec<&str> =
                links.map(|pair| pair[1]).filter(|link| !link.starts_with('#')).collect();
            assert!(links.len() > 8, "{path}: {links:?}");
            for link in links {
                assert!(link.starts_with("./") || link.starts_with("../"), "{path}: {link}");
                let place = resolved(&path, link);
                assert!(place.starts_with(&format!("{base}/")), "{path}: {link} leads to {place}");
                if !place.ends_with("/act") {
                    assert_eq!(
                        nginx.ask(&[], &place).await.status,
                        if place.ends_with("/logout") { 401 } else { 200 },
                        "{path}: {link} leads to {place}"
                    );
                }
            }
        }
        let page = nginx.ask(&[], &format!("{base}/queue")).await.body;
        let form = format!(
            "order=hold&scope=ids&ids=0000000000001&back=/queue&csrf={}",
            form_token(&page)
        );
        let origin = format!("Origin: http://{}", nginx.address);
        let reply =
            nginx.ask(&["--header", &origin, "--data", &form], &format!("{base}/act")).await;
        assert!(
            reply.status == 303 && reply.head.contains("location: ./queue?"),
            "{base}: {}",
            reply.head
        );
        if !base.is_empty() {
            let stream = nginx.ask(&["--head"], &format!("{base}/api/v1/stream")).await;
            assert_eq!(stream.status, 200, "{base}");
        }
    }
    let slash = nginx.ask(&[], "/mta").await;
    assert!(slash.status == 308 && slash.head.contains("location: mta/"), "{}", slash.head);
}
