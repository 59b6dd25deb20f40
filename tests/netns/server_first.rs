//! Protocols in which the server speaks first, or the client says nothing that looks like HTTP: carried with nothing
//! declared anywhere.

use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;
use tests::netns::told;
use tests::site::{Machine, SERVICE, Site};
use tests::wait::eventually;

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("netns").join(name)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn start(machine: &mut Machine, port: u16, greeting: &[u8]) {
    let (program, port) = (script("greeter.py"), port.to_string());
    machine.start(&format!("greeter-{port}"), "python3", &[program.to_str().unwrap(), &port, &hex(greeting)]);
}

#[test]
fn a_server_may_greet_first() {
    let greetings: [(u16, &[u8]); 3] = [
        (21, b"220 FTP server ready.\r\n"),
        (25, b"220 mail.example.test ESMTP\r\n"),
        (3306, b"\x4a\0\0\0\x0a8.0.36\0\x08\0\0\0\x1f\x2d\x41\x33\x58\x62\x12\x7f\0\xff\xff\xff\x02\0"),
    ];
    let site = Site::new();
    site.service("greeter", "21>21021 25>21025 3306>23306");
    let mut server = site.member("greeter", "--inbound 21021 --inbound 21025 --inbound 23306");
    for ((port, greeting), inbound) in greetings.into_iter().zip([21021, 21025, 23306]) {
        start(&mut server, inbound, greeting);
        let _names_it = port;
    }
    let caller = site.member("caller", "");
    let client = script("greeting.py");
    for (port, greeting) in greetings {
        let args = [client.to_str().unwrap(), "greeter.shop", &port.to_string(), &hex(greeting)];
        let said = eventually("the greeting comes", || {
            let output = caller.run("python3", &args);
            if output.status.success() {
                Ok(String::from_utf8_lossy(&output.stdout).into_owned())
            } else {
                Err(output)
            }
        });
        assert!(said.starts_with("right "), "{port}: {said}");
        // Not a measurement, but no timeout hides in it either: of a few greetings, on a machine that is busy with other
        // tests, one comes sooner than the shortest there is.
        let took =
            || -> u32 { caller.says("python3", &args).trim().rsplit(' ').next().unwrap().parse().unwrap() };
        let soonest = (0..5).map(|_| took()).min().unwrap();
        assert!(soonest < 100, "{port}: {soonest} ms");
    }
    let labels = [("direction", "inbound"), ("peer", "spiffe://mesh.internal/ns/shop/sa/caller")];
    server.counted("outrigger_tcp_connections_total", &labels, 18.0);
}

#[test]
fn redis_works_with_nothing_declared() {
    let site = Site::new();
    site.service("cache", "6379>6379");
    let mut cache = site.member("cache", "--inbound 6379");
    let args =
        ["--port", "6379", "--bind", "0.0.0.0", "--protected-mode", "no", "--save", "", "--dir", "/tmp"];
    cache.launch(SERVICE, "redis", "redis-server", &args);
    let caller = site.member("caller", "");
    let redis = |args: &[&str]| {
        let output = caller.run("redis-cli", &[&["-h", "cache.shop"], args].concat());
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    eventually("redis answers", || match redis(&["ping"]) {
        pong if pong == "PONG" => Ok(()),
        other => Err(other),
    });
    assert_eq!(redis(&["set", "key", "a value"]), "OK");
    assert_eq!(redis(&["get", "key"]), "a value");
    let report = caller.says(
        "redis-benchmark",
        &["-h", "cache.shop", "-n", "2000", "-c", "10", "-P", "8", "-t", "set,lpush", "-q"],
    );
    assert!(report.contains("SET: ") && report.contains("LPUSH: "), "{report}");
    let labels = [("direction", "inbound"), ("peer", "spiffe://mesh.internal/ns/shop/sa/caller")];
    cache.counted("outrigger_tcp_connections_total", &labels, 13.0);
}

/// Where Debian keeps the server's programs, and its user, without whom it does not start.
fn postgresql() -> (PathBuf, u32) {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let programs = versions.map(|version| version.path().join("bin")).find(|bin| bin.join("initdb").exists());
    let user = Command::new("id").args(["--user", "postgres"]).output().unwrap();
    let user = String::from_utf8_lossy(&user.stdout).trim().parse().ok();
    programs.zip(user).expect("install postgresql, with its user `postgres`")
}

#[test]
fn postgresql_works_with_nothing_declared() {
    let (programs, user) = postgresql();
    let site = Site::new();
    site.service("db", "5432>5432");
    let mut db = site.member("db", "--inbound 5432");
    let data = db.dir().join("data");
    std::fs::create_dir(&data).unwrap();
    chown(&data, Some(user), Some(user)).unwrap();
    let data = data.to_str().unwrap();
    let mut initdb = db.command(user, programs.join("initdb"));
    initdb.args(["-D", data, "-A", "trust", "-U", "postgres", "--no-sync", "--locale=C"]);
    let made = db.host.run(initdb);
    assert!(made.status.success(), "{}", told(&made));
    let args = ["-D", data, "-c", "listen_addresses=*", "-k", data, "-c", "fsync=off"];
    db.launch(user, "postgres", programs.join("postgres"), &args);
    let caller = site.member("caller", "");
    let asked = ["-h", "db.shop", "-U", "postgres", "-tAc", "select 6 * 7, repeat('x', 100000)"];
    let answer = eventually("PostgreSQL answers", || {
        let output = caller.run("psql", &asked);
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        } else {
            Err(told(&output))
        }
    });
    assert!(answer.starts_with("42|x") && answer.trim().len() == 100_003, "{}", answer.len());
    let labels = [("direction", "inbound"), ("peer", "spiffe://mesh.internal/ns/shop/sa/caller")];
    db.counted("outrigger_tcp_connections_total", &labels, 1.0);
}
