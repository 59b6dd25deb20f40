//! The page "Two machines, no Kubernetes, in five minutes", followed literally: every command is typed where the page says,
//! in order, and what the page says is printed must come. Two namespaces have the page's own addresses; each has its own
//! /etc, /var, /srv, /root and /usr/local/bin, with the programs in it, as the page asks for. `scp` copies between the two.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use tests::netns::{Host, told};
use tests::wait::eventually;
use tests::world::bin_dir;

/// One block of the page.
struct Step {
    /// Which machines.
    machines: &'static [usize],
    commands: String,
    /// What the page says is printed.
    printed: Option<String>,
}

fn steps(page: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        let Some(language) = line.strip_prefix("```") else { continue };
        let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        match language {
            "sh" => {
                let machines: &[usize] = match block[0] {
                    "# on the first machine" => &[0],
                    "# on the second machine" => &[1],
                    "# on both machines" => &[0, 1],
                    other => panic!("a block does not say where it is typed: {other}"),
                };
                steps.push(Step { machines, commands: block.join("\n"), printed: None });
            }
            "text" => steps.last_mut().unwrap().printed = Some(block.join("\n")),
            other => panic!("a block in {other}"),
        }
    }
    steps
}

/// A machine with a file system that is its own where the page writes.
struct Machine {
    host: Host,
    /// Holds the file system.
    holder: Child,
}

const OWN: [&str; 5] = ["/etc", "/var", "/srv", "/root", "/usr/local/bin"];

impl Machine {
    fn new(host: Host, root: &Path) -> Self {
        let mut script = String::new();
        for place in OWN {
            let own = root.join(&place[1..]);
            fs::create_dir_all(&own).unwrap();
            fs::set_permissions(&own, fs::Permissions::from_mode(0o755)).unwrap();
            if place == "/etc" {
                host.sh("cp", &["-a", "/etc/.", own.to_str().unwrap()]);
            }
            script.push_str(&format!("mount --bind {} {place} && ", own.display()));
        }
        fs::create_dir_all(root.join("var/log")).unwrap();
        fs::create_dir_all(root.join("var/lib")).unwrap();
        for program in ["control-plane", "meshctl", "sidecar"] {
            fs::copy(bin_dir().join(program), root.join("usr/local/bin").join(program)).unwrap();
        }
        let mut holder = Command::new("unshare");
        holder.args(["--mount", "sh", "-c", &format!("{script}echo held && exec sleep infinity")]);
        holder.stdout(Stdio::piped());
        let mut holder = host.inside(|| holder.spawn()).unwrap();
        let mut held = [0; 5];
        std::io::Read::read_exact(holder.stdout.as_mut().unwrap(), &mut held).unwrap();
        Self { host, holder }
    }

    /// Types commands.
    fn types(&self, commands: &str) -> Output {
        let mut shell = Command::new("nsenter");
        shell.arg(format!("--mount=/proc/{}/ns/mnt", self.holder.id()));
        shell.args([
            "env",
            "-i",
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME=/root",
        ]);
        shell.args(["bash", "-eu", "-c", commands]);
        self.host.run(shell)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // What the page starts in the background runs on, the holder too: they are all in this machine's namespace.
        let pids = Command::new("ip").args(["netns", "pids", self.host.name()]).output().unwrap();
        for pid in String::from_utf8_lossy(&pids.stdout).split_whitespace() {
            drop(mesh_load::running::kill(pid.parse().unwrap()));
        }
        drop(self.holder.wait());
    }
}

#[test]
fn the_page_is_followed_literally() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/two-machines.md");
    let steps = steps(&fs::read_to_string(page).unwrap());
    assert!(steps.len() > 8, "the page has its blocks");
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let roots: [PathBuf; 2] = ["first", "second"].map(|name| dir.path().join(name));
    let (one, other) = Host::pair();
    for (host, address) in [(&one, "10.0.0.1/24"), (&other, "10.0.0.2/24")] {
        host.sh("ip", &["addr", "flush", "dev", "eth0", "scope", "global"]);
        host.sh("ip", &["addr", "add", address, "dev", "eth0"]);
        host.sh("ip", &["route", "add", "default", "dev", "eth0"]);
    }
    let machines = [Machine::new(one, &roots[0]), Machine::new(other, &roots[1])];
    // Between two file systems of one machine.
    let scp = format!("#!/bin/sh\nexec cp \"$1\" \"{}/${{2#root@10.0.0.2:/}}\"\n", roots[1].display());
    fs::write(roots[0].join("usr/local/bin/scp"), scp).unwrap();
    fs::set_permissions(roots[0].join("usr/local/bin/scp"), fs::Permissions::from_mode(0o755)).unwrap();

    for Step { machines: which, commands, printed } in &steps {
        for number in *which {
            let types = || {
                let output = machines[*number].types(commands);
                let said = String::from_utf8_lossy(&output.stdout).trim_end().to_owned();
                let is_right =
                    output.status.success() && printed.as_ref().is_none_or(|printed| alike(printed, &said));
                if is_right { Ok(()) } else { Err(format!("{} {said}\n{}", output.status, told(&output))) }
            };
            match printed {
                // A program that was started a moment ago may not be ready when the next command is typed; people type slower.
                Some(printed) => eventually(&format!("{commands}\nprints {printed}"), types),
                None => types().unwrap_or_else(|said| panic!("{commands}\n{said}")),
            }
        }
    }
}

/// Whether two outputs are the same but for counts.
fn alike(printed: &str, said: &str) -> bool {
    let words = |text: &str| text.trim_end_matches(|c: char| c.is_ascii_digit()).to_owned();
    words(printed) == words(said)
}

#[test]
fn every_block_of_the_page_says_where_it_is_typed() {
    let page = "```sh\n# on both machines\ntrue\n```\n\n```text\nyes\n```\n";
    let steps = steps(page);
    let found: HashMap<_, _> =
        steps.iter().map(|step| (step.machines.len(), step.printed.as_deref())).collect();
    assert_eq!(found, HashMap::from([(2, Some("yes"))]));
}
