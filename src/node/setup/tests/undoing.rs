//! What is taken back, whatever happened in between.

use proptest::prelude::*;

use super::*;

#[test]
fn what_changed_since_is_not_lost_when_ours_is_taken_back() {
    let node = Node::new(&[("/var/lib/dpkg/status", &dpkg("containerd", "1.6.20")), (CONFIG, DEBIAN_CONFIG)]);
    carry_out(&node.root, &node.plan()).expect("writes");
    node.put(CONFIG, &format!("# a person was here\n{}", node.text(CONFIG)));
    node.put(HOSTS, &format!("{}\n[host.\"https://other\"]\n", node.text(HOSTS)));
    let planned = plan_undo(&node.root).expect("reads");
    assert_eq!((planned[1].path.as_str(), &planned[1].undone), (HOSTS, &Undone::Left { text: None }));
    assert_eq!(planned[0].then.as_deref(), Some("systemctl restart containerd"));
    assert_eq!(planned[1].then, None);
    assert_eq!(undo(&node.root).expect("undoes"), planned);
    assert_eq!(node.text(CONFIG), format!("# a person was here\n{DEBIAN_CONFIG}"));
    assert!(node.text(HOSTS).contains("https://other"));
}

#[test]
fn a_run_that_was_broken_off_can_be_repeated_and_taken_back() {
    let node = Node::new(&[("/var/lib/dpkg/status", &dpkg("containerd", "1.6.20")), (CONFIG, DEBIAN_CONFIG)]);
    let before = node.all();
    let steps = node.plan();
    // Killed after the note and before the file: the ledger is ahead.
    carry_out(&node.root, &steps).expect("writes");
    node.put(CONFIG, DEBIAN_CONFIG);
    carry_out(&node.root, &node.plan()).expect("writes again");
    assert_ne!(node.text(CONFIG), DEBIAN_CONFIG);
    undo(&node.root).expect("undoes");
    assert_eq!(node.all(), before);
    assert!(undo(&node.root).expect("nothing to do").is_empty());
}

#[test]
fn an_older_file_of_ours_is_brought_up_to_date() {
    let node = Node::new(&[("/usr/bin/podman", ""), (PODMAN, "# Written by `lighterman setup`\nold\n")]);
    carry_out(&node.root, &node.plan()).expect("writes");
    assert!(node.text(PODMAN).contains(MIRROR));
    undo(&node.root).expect("undoes");
    assert_eq!(node.text(PODMAN), "# Written by `lighterman setup`\nold\n");
}

#[test]
fn a_change_between_two_runs_outlives_both() {
    let node = Node::new(&[("/var/lib/dpkg/status", &dpkg("containerd", "1.7.24")), (CONFIG, DEBIAN_CONFIG)]);
    node.set_up(false);
    node.put(CONFIG, &format!("{}# a person was here\n", node.text(CONFIG)));
    node.set_up(true);
    undo(&node.root).expect("undoes");
    assert_eq!(node.text(CONFIG), format!("{DEBIAN_CONFIG}# a person was here\n"));
    assert!(!node.root.exists(LEDGER));
}

#[test]
fn what_a_person_took_out_is_not_asked_for_again() {
    let node = Node::new(&[("/var/lib/dpkg/status", &dpkg("containerd", "1.7.24")), (CONFIG, DEBIAN_CONFIG)]);
    node.set_up(false);
    node.put(CONFIG, &format!("{DEBIAN_CONFIG}# a person was here\n"));
    let planned = plan_undo(&node.root).expect("reads");
    assert_eq!((planned[0].path.as_str(), &planned[0].undone), (CONFIG, &Undone::Nothing));
    undo(&node.root).expect("undoes");
    assert!(!node.root.exists(LEDGER));
}

#[test]
fn lines_of_ours_that_a_person_changed_stay_in_the_ledger() {
    let node = Node::new(&[("/var/lib/dpkg/status", &dpkg("containerd", "1.7.24")), (CONFIG, DEBIAN_CONFIG)]);
    node.set_up(false);
    node.put(CONFIG, &node.text(CONFIG).replace("/etc/containerd/certs.d", "/mine"));
    let theirs = node.text(CONFIG);
    node.set_up(true);
    let undone = undo(&node.root).expect("undoes");
    let of_config =
        |undone: &[Outcome]| undone.iter().find(|outcome| outcome.path == CONFIG).map(|one| one.undone.clone());
    // The differ was ours alone.
    assert_eq!(of_config(&undone), Some(Undone::Left { text: Some(theirs.clone()) }));
    assert_eq!(node.text(CONFIG), theirs);
    assert!(node.text(LEDGER).contains(CONFIG) && !node.text(LEDGER).contains("proxy_plugins"));
    assert_eq!(of_config(&undo(&node.root).expect("undoes")), Some(Undone::Left { text: None }));
}

/// What happens to a node's files, one thing after the other.
#[derive(Debug, Clone)]
enum Event {
    /// `lighterman setup`, with or without `--differ`.
    SetUp(bool),
    /// A person writes a line behind one that was there before.
    Write(prop::sample::Index),
    /// A person removes a line that they wrote.
    Remove(prop::sample::Index),
    /// A person removes a line that we wrote.
    Interfere(prop::sample::Index),
    /// `lighterman setup --undo`.
    Undo,
}

fn event() -> impl Strategy<Value = Event> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        3 => any::<bool>().prop_map(Event::SetUp),
        3 => index().prop_map(Event::Write),
        1 => index().prop_map(Event::Remove),
        1 => index().prop_map(Event::Interfere),
        2 => Just(Event::Undo),
    ]
}

/// A node, and what its configuration would be without us.
struct Life {
    node: Node,
    theirs: Vec<String>,
    written: usize,
    interfered: bool,
}

impl Life {
    fn new() -> Self {
        let node = Node::new(&[("/var/lib/dpkg/status", &dpkg("containerd", "2.1.4")), (CONFIG, DEBIAN_CONFIG)]);
        let theirs = DEBIAN_CONFIG.lines().map(str::to_owned).collect();
        Self { node, theirs, written: 0, interfered: false }
    }

    fn lines(&self) -> Vec<String> {
        self.node.text(CONFIG).lines().map(str::to_owned).collect()
    }

    fn put(&self, lines: &[String]) {
        self.node.put(CONFIG, &(lines.join("\n") + "\n"));
    }

    fn happens(&mut self, event: &Event) {
        match event {
            Event::SetUp(differ) => self.node.set_up(*differ),
            Event::Write(index) => {
                let behind = index.get(&self.theirs).clone();
                let line = format!("# line {} of a person's", self.written);
                let mut lines = self.lines();
                for lines in [&mut self.theirs, &mut lines] {
                    let at = lines.iter().position(|line| *line == behind).expect("is kept");
                    lines.insert(at + 1, line.clone());
                }
                self.put(&lines);
                self.written += 1;
            }
            Event::Remove(index) => {
                let persons: Vec<_> = self.theirs.iter().filter(|line| line.ends_with("a person's")).cloned().collect();
                if !persons.is_empty() {
                    let gone = index.get(&persons);
                    self.theirs.retain(|line| line != gone);
                    self.put(&self.lines().into_iter().filter(|line| line != gone).collect::<Vec<_>>());
                }
            }
            Event::Interfere(index) => {
                let lines = self.lines();
                let ours: Vec<_> = lines.iter().filter(|line| line.ends_with(edit::NOTE)).collect();
                if !ours.is_empty() {
                    let gone = *index.get(&ours);
                    self.put(&lines.iter().filter(|line| *line != gone).cloned().collect::<Vec<_>>());
                    self.interfered = true;
                }
            }
            Event::Undo => drop(undo(&self.node.root).expect("undoes")),
        }
    }

    /// Every line of theirs, in their order.
    fn has_theirs(&self) -> bool {
        let lines = self.lines();
        let mut lines = lines.iter();
        self.theirs.iter().all(|wanted| lines.any(|line| line == wanted))
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_person_loses_nothing_and_we_leave_nothing(events in prop::collection::vec(event(), 1..12)) {
        let mut life = Life::new();
        for event in events.iter().chain([&Event::Undo]) {
            life.happens(event);
            prop_assert!(life.has_theirs(), "{event:?}\n{}", life.node.text(CONFIG));
        }
        if !life.interfered {
            prop_assert_eq!(life.lines(), life.theirs.clone());
            prop_assert!(!life.node.root.exists(LEDGER));
        }
    }
}
