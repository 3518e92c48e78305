//! The same seen by a client: what the real server acknowledges (XEP-0198) while its disk fails.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use comity::testing::Client;
use comity::xml::Element;

use crate::site::Site;
use crate::trace::{Call, Errno, Lasts, Plan, watch};

const SM: &str = "urn:xmpp:sm:3";
const SENDER: &str = "sender@verona.example";
const READER: &str = "reader@verona.example";

struct Server {
    site: Site,
    process: Option<Child>,
}

impl Server {
    /// Starts one whose disk fails, as long as it is told to, in calls of this kind.
    fn start(name: &str, call: Call, error: Errno) -> Self {
        let site = Site::new(name);
        for account in [SENDER, READER] {
            assert!(site.run(&["account", "add", account, "--password-stdin"], "pass-word\n").status.success());
        }
        let directory = site.directory.canonicalize().unwrap();
        let mut command = site.command(&["serve"]);
        let [data, trace, full] = ["data", "trace", "full"].map(|name| directory.join(name));
        watch(&mut command, &data, &trace, &full, Some(Plan { call, number: 1, error, lasts: Lasts::While }));
        let log = File::create(directory.join("log")).unwrap();
        let mut process = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let server = Self { site, process: Some(process) };
        assert_eq!(line, "ready\n", "{}", server.log());
        server
    }

    fn fail(&self, fails: bool) {
        let full = self.site.directory.join("full");
        if fails { std::fs::write(full, "").unwrap() } else { std::fs::remove_file(full).unwrap() }
    }

    fn signal(&self, name: &str) {
        let pid = self.process.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }

    /// Waits until it has ended.
    fn ended(&mut self) -> ExitStatus {
        self.process.take().unwrap().wait().unwrap()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.site.directory.join("log")).unwrap()
    }

    async fn sender(&self) -> Client {
        let mut sender = self.site.log_in(&format!("{SENDER}/s"), "pass-word").await.unwrap();
        sender.send(&format!("<enable xmlns='{SM}'/>")).await;
        until(&mut sender, |element| element.name() == "enabled").await.unwrap();
        sender
    }

    /// Starts it on a disk without faults and returns the numbers of the messages that wait.
    async fn waiting(&mut self) -> Vec<u32> {
        self.site.start();
        let mut reader = self.site.log_in(&format!("{READER}/r"), "pass-word").await.unwrap();
        reader.send("<presence/>").await;
        let mut got = Vec::new();
        // The own presence comes behind everything that waited.
        loop {
            let element = reader.next().await.unwrap();
            match element.name() {
                "message" => got.push(element.attribute("id").unwrap().parse().unwrap()),
                "presence" if element.attribute("from") == Some(&format!("{READER}/r")) => break,
                _ => {}
            }
        }
        assert!(self.site.stop().success());
        got
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

async fn send(sender: &mut Client, numbers: std::ops::RangeInclusive<u32>) {
    for number in numbers {
        sender.send(&format!("<message to='{READER}' type='chat' id='{number}'><body>x</body></message>")).await;
    }
}

/// How many messages have been acknowledged, when the server is asked now.
async fn acknowledged(sender: &mut Client) -> Option<u32> {
    sender.send(&format!("<r xmlns='{SM}'/>")).await;
    let answer = until(sender, |element| element.name() == "a").await?;
    Some(answer.attribute("h").unwrap().parse().unwrap())
}

/// The next element that is as `wanted` says; nothing if the connection ends before it comes.
async fn until(client: &mut Client, wanted: impl Fn(&Element) -> bool) -> Option<Element> {
    loop {
        let element = client.next().await?;
        if wanted(&element) {
            return Some(element);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_space_nobody_is_told_that_a_message_is_safe() {
    let mut server = Server::start("faults-space", Call::Write, Errno::NoSpace);
    let mut sender = server.sender().await;
    send(&mut sender, 1..=5).await;
    while acknowledged(&mut sender).await.unwrap() < 5 {}
    server.fail(true);
    send(&mut sender, 6..=10).await;
    for _ in 0..4 {
        assert_eq!(acknowledged(&mut sender).await, Some(5));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    server.fail(false);
    while acknowledged(&mut sender).await.unwrap() < 10 {}
    let log = server.log();
    assert_eq!(log.matches("nothing is acknowledged until there is room again").count(), 1, "{log}");
    assert_eq!(log.matches("there is room on the disk again").count(), 1, "{log}");
    server.signal("-KILL");
    assert!(!server.ended().success());
    assert_eq!(server.waiting().await, (1..=10).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_space_can_be_stopped() {
    let mut server = Server::start("faults-stop", Call::Write, Errno::NoSpace);
    let mut sender = server.sender().await;
    send(&mut sender, 1..=5).await;
    while acknowledged(&mut sender).await.unwrap() < 5 {}
    server.fail(true);
    send(&mut sender, 6..=10).await;
    assert_eq!(acknowledged(&mut sender).await, Some(5));
    server.signal("-TERM");
    assert_eq!(server.ended().code(), Some(1), "{}", server.log());
    assert!(server.log().contains("no room"), "{}", server.log());
    assert_eq!(server.waiting().await, (1..=5).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_whose_disk_does_not_sync_ends() {
    let mut server = Server::start("faults-sync", Call::Sync, Errno::Io);
    let mut sender = server.sender().await;
    send(&mut sender, 1..=5).await;
    while acknowledged(&mut sender).await.unwrap() < 5 {}
    server.fail(true);
    send(&mut sender, 6..=10).await;
    while let Some(count) = acknowledged(&mut sender).await {
        assert_eq!(count, 5);
    }
    assert_eq!(server.ended().code(), Some(1), "{}", server.log());
    assert!(server.log().contains("storage is lost"), "{}", server.log());
    // The others were written, and only the kernel knows whether they are on the disk: nobody was told that they are.
    let waiting = server.waiting().await;
    assert!(waiting.starts_with(&[1, 2, 3, 4, 5]), "{waiting:?}");
}
