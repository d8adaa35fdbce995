//! What is done to the daemons, and what they are asked to do meanwhile.

use std::time::Duration;

use nix::sys::signal::Signal;

use super::judge::{Before, Weather};
use super::plan::{Asked, Client, Meanwhile, Pull, Step, Trouble, What, expires_leases};
use super::world::{NAMESPACES, World};
use crate::support::liar::{Liar, Reply};
use crate::support::lighterman::{Outcome, Running, exit};

/// For how long containerd stands still, or the disk.
const PAUSE: Duration = Duration::from_millis(300);

impl World {
    pub(super) fn take(&mut self, step: &Step) {
        match step {
            Step::Pulls { afresh, pulls, troubles, meanwhile } => {
                for pull in pulls.iter().filter(|_| *afresh) {
                    (0..NAMESPACES.len()).for_each(|namespace| self.remove(pull.image, namespace));
                }
                self.pulls(pulls, troubles, meanwhile);
            }
            Step::Remove { image, namespace } => self.remove(*image, *namespace),
            Step::Restart => self.stop_daemon(),
        }
    }

    fn pulls(&mut self, pulls: &[Pull], troubles: &[Trouble], meanwhile: &[Meanwhile]) {
        let before = Before::of(self);
        let weather = Weather::of(troubles, meanwhile, self.clock.ahead);
        troubles.iter().for_each(|trouble| self.plan(trouble));
        let (mut going, mut staying) = (Vec::new(), Vec::new());
        for (index, pull) in pulls.iter().enumerate() {
            let client = self.spawn(pull);
            match pull.client {
                Client::Leaves(after) | Client::Dies(after) => going.push((after, index, pull.client, client)),
                Client::Stays | Client::Ctr => staying.push((index, client)),
            }
        }
        let gone = std::thread::spawn(move || go_away(going));
        let mut passed = 0;
        for Meanwhile { after, what } in meanwhile {
            // Not waited for: at which moment of their work others are hit is what the seed decides.
            std::thread::sleep(Duration::from_millis(after - passed));
            passed = *after;
            self.meanwhile(*what);
        }
        let mut outcomes: Vec<(usize, Outcome)> =
            staying.into_iter().map(|(index, client)| (index, client.wait())).collect();
        outcomes.extend(gone.join().expect("no panic"));
        self.calm();
        let names = [0, 1].map(|namespace| self.names(namespace));
        for (index, outcome) in outcomes {
            self.judge(&pulls[index], outcome, &weather, &names);
        }
        self.check_fetches(pulls, &weather, &before);
        // containerd's own client gives an image its name before it is unpacked.
        for pull in pulls.iter().filter(|pull| !pull.is_ours()) {
            let reference = self.reference(pull);
            if !self.named.contains(&(pull.namespace, reference.clone())) {
                self.containerd.ctr(&["-n", NAMESPACES[pull.namespace], "images", "rm", "--sync", &reference]);
            }
        }
    }

    fn spawn(&self, pull: &Pull) -> Running {
        let (reference, namespace) = (self.reference(pull), NAMESPACES[pull.namespace]);
        if pull.is_ours() {
            return self.daemon.user().spawn(&["pull", &reference, "-n", namespace]);
        }
        let pull = ["-n", namespace, "images", "pull", "--plain-http", &reference];
        let mut command = self.containerd.ctr_command(&pull);
        // It tells of its progress again and again.
        command.stdout(std::process::Stdio::null());
        Running::of(command)
    }

    fn plan(&mut self, trouble: &Trouble) {
        let mut blobs = self.images[trouble.image].manifests[0].blobs();
        let blob = match trouble.asked {
            Asked::Blob(number) => blobs.nth(number),
            Asked::Token | Asked::Manifest => None,
        };
        let what = match (trouble.asked, blob) {
            (Asked::Token, _) => "GET /token".into(),
            (_, Some(blob)) => format!("/blobs/{}", blob.digest),
            (_, None) => format!("GET /v2/app{}/manifests/", trouble.image),
        };
        self.liars[trouble.liar].plan(&what, vec![trouble.reply.clone(); trouble.times]);
        *self.tally.entry(class(&trouble.reply)).or_default() += trouble.times;
    }

    fn meanwhile(&mut self, what: What) {
        self.count(format!("meanwhile {}", first_word(&what)));
        match what {
            What::KillDaemon => {
                self.daemon.take().kill();
                self.is_untidy = true;
                self.start_daemon();
            }
            What::StopDaemon => self.stop_daemon(),
            What::KillContainerd => {
                self.containerd.kill();
                self.start_containerd();
            }
            What::StopContainerd => {
                self.containerd.stop();
                self.start_containerd();
            }
            What::PauseContainerd => {
                self.containerd.pause();
                std::thread::sleep(PAUSE);
                self.containerd.resume();
            }
            What::FreezeDisk => self.containerd.disk().freeze_for(PAUSE),
            What::FillDisk(mebibytes) => {
                // Of what is to be cleared up, containerd may not be able to make a note.
                self.is_untidy = true;
                self.is_full = true;
                self.containerd.disk().fill_but(mebibytes);
            }
            What::Collect => NAMESPACES.iter().for_each(|namespace| self.containerd.collect(namespace)),
            What::Remove { image, namespace } => self.remove(image, namespace),
            What::Revoke => self.liars.iter().for_each(Liar::revoke),
            What::Clock(ahead) => self.clock.set(ahead),
        }
    }

    /// Ends what is only for the time of a step.
    fn calm(&mut self) {
        for unused in self.liars.iter().flat_map(Liar::forget_plans).collect::<Vec<_>>() {
            // What nobody met with did not happen.
            *self.tally.entry(class(&unused)).or_default() -= 1;
        }
        self.make_room();
        if expires_leases(self.clock.ahead) {
            self.clock.set(0);
        }
        (0..NAMESPACES.len()).for_each(|namespace| self.clear_up_after_neighbours(namespace));
    }

    fn make_room(&mut self) {
        if std::mem::take(&mut self.is_full) {
            self.containerd.disk().make_room();
        }
    }

    fn start_daemon(&mut self) {
        self.daemon.restart();
        self.clock.note(self.daemon.process().id());
    }

    fn stop_daemon(&mut self) {
        let running = self.daemon.take();
        running.signal(Signal::SIGTERM);
        let outcome = running.wait();
        assert_eq!(outcome.code, Some(exit::OK), "a daemon that is told to stop: {}", self.daemon.log());
        self.start_daemon();
    }

    fn start_containerd(&mut self) {
        // Leases are ended as soon as they can be, and it was not there to be told.
        self.is_untidy = true;
        // Whether it starts without room is no matter of ours.
        self.make_room();
        self.containerd.start_again();
    }

    pub(super) fn remove(&mut self, image: usize, namespace: usize) {
        // In the namespace of Kubernetes an image has several names.
        for name in self.names(namespace) {
            if self.number(&name) == image {
                self.containerd.ctr(&["-n", NAMESPACES[namespace], "images", "rm", "--sync", &name]);
                self.named.remove(&(namespace, name));
            }
        }
    }

    /// What containerd's own client left half done is containerd's to expire, and no matter of ours.
    fn clear_up_after_neighbours(&self, namespace: usize) {
        let of_others = |name: &String| !name.starts_with("lighterman-");
        for lease in self.leases(namespace).into_iter().filter(of_others) {
            self.containerd.ctr(&["-n", NAMESPACES[namespace], "leases", "rm", &lease]);
        }
        for ingest in self.ingests(namespace).into_iter().filter(of_others) {
            self.containerd.ctr(&["-n", NAMESPACES[namespace], "content", "rm", &ingest]);
        }
    }
}

/// Has clients leave or die, each when he wants to; what those said that left.
fn go_away(mut clients: Vec<(u64, usize, Client, Running)>) -> Vec<(usize, Outcome)> {
    clients.sort_by_key(|(after, ..)| *after);
    let (mut passed, mut said) = (0, Vec::new());
    for (after, index, client, running) in clients {
        std::thread::sleep(Duration::from_millis(after - passed));
        passed = after;
        match client {
            Client::Dies(_) => running.kill(),
            _ => said.push((index, running.interrupt())),
        }
    }
    said
}

/// Under which name a reply is counted.
fn class(reply: &Reply) -> String {
    format!("trouble {}", first_word(reply))
}

/// The name of a variant, without what is in it.
fn first_word(of: &impl std::fmt::Debug) -> String {
    format!("{of:?}").chars().take_while(|letter| letter.is_alphanumeric()).collect()
}
