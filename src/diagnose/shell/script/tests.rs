use proptest::prelude::*;

use super::*;

fn of(script: &str, arguments: &[&str]) -> Option<Handed> {
    let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
    hands_on(script, &arguments)
}

/// Program, whether it is certain, and whether it may have another name.
fn told(script: &str) -> Option<(String, bool, bool)> {
    of(script, &["app", "-x"]).map(|handed| (handed.argv[0].clone(), handed.certain, handed.renamed))
}

#[test]
fn what_a_script_ends_with_is_certain() {
    for (script, program, renamed) in [
        ("#!/bin/sh\nexec \"$@\"\n", "app", false),
        ("#!/bin/sh\nset -e\n\n# the command\nexec \"$@\" # last\n", "app", false),
        ("#!/bin/bash\nexec -- \"${@}\"", "app", false),
        ("exec gosu postgres \"$@\"\n", "gosu", false),
        ("exec su-exec \"$user\" \"$@\"\n", "su-exec", false),
        ("exec /sbin/tini -- \\\n  \"$@\"\n", "/sbin/tini", false),
        ("exec java -jar /app.jar \"$@\"\n", "java", false),
        ("exec 3>&1\nexec \"$@\"\n", "app", false),
        ("if [ \"$1\" = app ]; then\n\tprepare\nfi\nexec \"$@\"\n", "app", true),
        ("if [ \"${1#-}\" != \"$1\" ]; then\n  set -- server \"$@\"\nfi\nexec \"$@\"\n", "app", true),
        ("if [ \"$(id -u)\" = 0 ]; then\n\texec gosu app \"$0\" \"$@\"\nfi\nexec \"$@\"\n", "app", false),
        ("main() {\n\tprepare\n\texec \"$@\"\n}\n\nmain \"$@\"\n", "app", false),
        (
            "_main() {\n\tif x; then\n\t\ty\n\tfi\n\texec \"$@\"\n}\nif ! _is_sourced; then\n\t_main \"$@\"\nfi\n",
            "app",
            false,
        ),
        ("cat > /etc/conf <<EOF\nexit\nexec nothing \"$@\"\nEOF\nexec \"$@\"\n", "app", false),
        ("export LD_LIBRARY_PATH=/x\nexec \"$@\"\n", "app", false),
        ("for f in /init.d/*; do\n  . \"$f\"\ndone\nexec \"$@\"\n", "app", true),
    ] {
        assert_eq!(told(script), Some((program.to_owned(), true, renamed)), "{script}");
    }
    let gosu = of("exec gosu \"$USER\" \"$@\"\n", &["app", "-x"]).expect("a program");
    assert_eq!(gosu.argv, ["gosu", "$USER", "app", "-x"]);
    assert_eq!(gosu.through.as_deref(), Some("exec gosu \"$USER\" \"$@\""));
}

#[test]
fn what_a_script_may_do_is_not() {
    for script in [
        "case \"$1\" in\n  serve) run;;\n  *) exec \"$@\" ;;\nesac\n",
        "if [ -n \"$X\" ]; then exec \"$@\"; fi\n",
        "[ -x /y ] && exec \"$@\"\n",
        "exec \"$@\"\necho behind\n",
        "exec \"$@\" || echo failed\n",
        "if x; then\n\texec \"$@\"\nfi\nsleep 1\n",
        "run() {\n\texec \"$@\"\n}\nif x; then\n\trun \"$@\"\nfi\n",
        "run() {\n\texec \"$@\"\n}\nrun other\n",
        "set -- wrapper \"$@\"\nexec \"$@\"\n",
        "export PATH=/opt/bin:$PATH\nexec \"$@\"\n",
        ". /venv/bin/activate\nexec \"$@\"\n",
        "eval \"$(conda shell)\"\nexec \"$@\"\n",
    ] {
        let (program, certain, _) = told(script).unwrap_or_else(|| panic!("{script}"));
        assert_eq!((program.as_str(), certain), ("app", false), "{script}");
    }
    // A whole path is the same along every PATH, and a directory does not matter to it.
    let absolute = of("PATH=/opt/bin\ncd /srv\nexec \"$@\"\n", &["/app"]).expect("a program");
    assert!(absolute.certain && !absolute.renamed);
    assert!(!of("cd /srv\nexec \"$@\"\n", &["./app"]).expect("a program").certain);
}

#[test]
fn other_scripts_are_not_followed() {
    for script in [
        "#!/bin/sh\n\"$@\"\n",
        "#!/bin/sh\nexec /app\n",
        "# exec \"$@\"\n",
        "find . -exec chown x \"$@\"\n",
        "exec \"$0\" \"$@\"\n",
        "exec $(pick) \"$@\"\n",
        "exec nginx\nexec \"$@\"\n",
        "exit 0\nexec \"$@\"\n",
        "shift\nexec \"$@\"\n",
        "set -- other\nexec \"$@\"\n",
        "cat <<'EOF' > run\nexec \"$@\"\nEOF\n./run\n",
        "",
    ] {
        assert_eq!(told(script), None, "{script}");
    }
    assert_eq!(of("exec \"$@\"\n", &[]), None);
    assert_eq!(of("exec \"$@\"\n", &["-x"]), None);
    assert_eq!(of("exec \"$@\"\n", &["$x"]), None);
}

proptest! {
    #[test]
    fn any_text_is_survived(text in "(exec |\"\\$@\"|\\}|\n|\\\\\n|<<|EOF|f\\(\\) \\{|set -- |[^x]){0,40}") {
        if let Some(handed) = of(&text, &["app"]) {
            prop_assert!(!handed.argv.is_empty() && is_plain(&handed.argv[0]));
        }
    }
}
