//! Debian's Tomcat with one application: the two blocks of the page, and the usual files around
//! them.

use crate::aux::Shop;
use crate::support::patience::until;
use crate::support::program::{find, free_port};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

const HOME: &str = "/usr/share/tomcat10";

/// The servlet that compiles pages; Debian keeps it in the configuration of its service, which is
/// not installed.
const WEB_XML: &str = r#"<web-app xmlns="https://jakarta.ee/xml/ns/jakartaee" version="6.0">
  <servlet><servlet-name>jsp</servlet-name><servlet-class>org.apache.jasper.servlet.JspServlet</servlet-class></servlet>
  <servlet-mapping><servlet-name>jsp</servlet-name><url-pattern>*.jsp</url-pattern></servlet-mapping>
</web-app>"#;

/// Starts a Tomcat with the application, and opens its page once.
pub fn run(shop: &Shop) {
    let port = free_port();
    shop.write(
        "conf/server.xml",
        &format!(
            r#"<Server port="-1"><Service name="Catalina"><Connector port="{port}" address="127.0.0.1"/>
            <Engine name="Catalina" defaultHost="localhost"><Host name="localhost" appBase="webapps"/></Engine></Service></Server>"#
        ),
    );
    let application = "webapps/shop";
    for block in ["META-INF/context.xml", "order.jsp"] {
        shop.write(&format!("{application}/{block}"), &crate::page::block(block));
    }
    shop.write(&format!("{application}/WEB-INF/web.xml"), WEB_XML);
    for folder in ["lib", "logs", "temp", "work"] {
        std::fs::create_dir(shop.directory().join(folder)).unwrap();
    }
    for (jar, package) in [
        ("jakarta-mail.jar", "libjakarta-mail-java"),
        ("jakarta-activation.jar", "libjakarta-activation-java"),
    ] {
        let path = Path::new("/usr/share/java").join(jar);
        assert!(
            path.exists(),
            "{} is missing (package {package}): run scripts/install-peers.sh as root",
            path.display()
        );
        symlink(path, shop.directory().join("lib").join(jar)).unwrap();
    }
    find("java");
    let start = Path::new(HOME).join("bin/catalina.sh");
    assert!(
        start.exists(),
        "{HOME} is missing (package tomcat10-common): run scripts/install-peers.sh as root"
    );
    let mut command = Command::new(start);
    command.arg("run").env("CATALINA_HOME", HOME).env("CATALINA_BASE", shop.directory());
    let _tomcat = shop.start("tomcat", &command);
    let said = until("Tomcat serves the application", || match get(port, "/shop/order.jsp") {
        Ok(said) if !said.starts_with("HTTP/1.1 404") => Ok(said),
        Ok(said) => Err(said),
        Err(error) => Err(error.to_string()),
    });
    assert!(said.starts_with("HTTP/1.1 200 "), "{said}");
}

fn get(port: u16, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
