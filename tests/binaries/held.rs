//! What comes before there is any configuration.

use crate::started::{Started, sidecar};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, SystemTime};
use tests::wait::eventually;
use tests::world::World;

/// A sidecar without a control plane, with a request sent to its proxy port and one to an upstream.
fn early(world: &mut World) -> (Started, [TcpStream; 2]) {
    let [outbound, upstream] =
        [(); 2].map(|()| format!("127.0.0.1:{}", mesh_load::mesh::free_port().unwrap()));
    let mut command = sidecar(world, "shopper");
    command.args(["--outbound-addr", &outbound, "--upstream", &format!("web.demo:80={upstream}")]);
    world.mesh.kill_control_plane();
    let started = Started::command(command);
    let streams = [outbound, upstream].map(|address| {
        let mut stream = eventually("it listens", || TcpStream::connect(&address));
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nhost: web.demo\r\nconnection: close\r\n\r\n").unwrap();
        stream
    });
    (started, streams)
}

fn answer(mut stream: TcpStream) -> String {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn it_is_held_until_the_first_configuration_is_there() {
    let mut world = World::new();
    world.service("web", 80, Some("http"), "main");
    world.serve("web", "web-a", "http", &["http"]);
    let (_started, streams) = early(&mut world);
    world.mesh.restart_control_plane().unwrap();
    for stream in streams {
        let answer = answer(stream);
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}

#[test]
fn it_is_not_held_for_ever_and_told_why() {
    let mut world = World::new();
    let start = SystemTime::now();
    let (_started, streams) = early(&mut world);
    for stream in streams {
        let answer = answer(stream);
        assert!(
            answer.starts_with("HTTP/1.1 503") && answer.contains("outrigger-reason: not_ready"),
            "{answer}"
        );
    }
    let held = start.elapsed().unwrap();
    assert!(held > Duration::from_secs(9) && held < Duration::from_secs(16), "{held:?}");
}
