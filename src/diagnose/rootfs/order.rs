//! In which order layers are looked through: where a file probably is, and then from the top.
//!
//! A guess only saves bytes. What is found in a layer before those above it were looked through
//! is told as uncertain.

/// What every build step says that is run by a shell.
const SHELL: &str = "/bin/sh -c";
/// Programs and files that come with the lowest layer, which is a distribution.
const BASE_FILES: [&str; 7] = ["sh", "bash", "ash", "dash", "env", "busybox", "os-release"];
const LIBRARIES: [&str; 2] = ["/lib", "/usr/lib"];
/// Directories that any step may name, whatever it brings.
const COMMON: [&str; 12] = [
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/local",
    "/usr/sbin",
    "/usr/bin",
    "/usr",
    "/sbin",
    "/bin",
    "/etc",
    "/opt",
    "/lib",
    "/usr/lib",
];

/// Bytes of a command, and directories above a path, that a guess is made from. Both are as long
/// as a stranger likes.
const COMMAND: usize = 4096;
const DIRECTORIES: usize = 8;

/// The layers, by index, in the order in which they are to be looked through for one of `paths`.
/// `commands` are those that brought them, lowest first, or nothing.
pub(super) fn order(paths: &[String], commands: &[String], layers: usize) -> Vec<usize> {
    let promise = |layer: usize| {
        let command = commands.get(layer).map(|command| start_of(command).replace(SHELL, "")).unwrap_or_default();
        let named = paths.iter().map(|path| names(&command, path)).max().unwrap_or_default();
        let is_base = layer == 0 && paths.iter().any(|path| comes_with_base(path));
        named.max(u8::from(is_base))
    };
    let mut order: Vec<(u8, usize)> = (0..layers).map(|layer| (promise(layer), layer)).collect();
    order.sort_unstable_by(|one, other| other.cmp(one));
    order.into_iter().map(|(_, layer)| layer).collect()
}

/// How closely a command names a path: itself, its last part, a directory above it, or not at all.
fn names(command: &str, path: &str) -> u8 {
    let nearest = path.rmatch_indices('/').map(|(at, _)| &path[..at]).take(DIRECTORIES);
    let mut directories = nearest.filter(|directory| !directory.is_empty() && !COMMON.contains(directory));
    if has_word(command, path) {
        4
    } else if has_word(command, last(path)) {
        3
    } else if directories.any(|directory| has_word(command, directory)) {
        2
    } else {
        0
    }
}

fn start_of(command: &str) -> &str {
    &command[..command.floor_char_boundary(COMMAND)]
}

fn comes_with_base(path: &str) -> bool {
    BASE_FILES.contains(&last(path)) || parents(path).any(|parent| LIBRARIES.contains(&parent) || parent == "/lib64")
}

fn last(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

/// The directories above a path, without the root.
fn parents(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(at, _)| &path[..at]).filter(|parent| !parent.is_empty())
}

/// Whether a text has this in it with nothing of a name before or behind it.
fn has_word(text: &str, word: &str) -> bool {
    let is_part = |character: char| character.is_alphanumeric() || matches!(character, '_' | '-' | '.');
    !word.is_empty()
        && word.len() <= text.len()
        && text.match_indices(word).any(|(at, _)| {
            let (before, behind) = (&text[..at], &text[at + word.len()..]);
            !before.ends_with(is_part) && !behind.trim_start_matches('/').starts_with(is_part)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(path: &str, commands: &[&str]) -> usize {
        let commands: Vec<String> = commands.iter().map(|command| (*command).into()).collect();
        order(&[path.into()], &commands, commands.len())[0]
    }

    #[test]
    fn what_a_command_names_comes_first() {
        let debian = "/bin/sh -c #(nop) ADD file:0123 in / ";
        let install = "RUN /bin/sh -c apt-get install -y nginx # buildkit";
        let copy = "COPY dist /srv/app # buildkit";
        let clean = "RUN /bin/sh -c rm -rf /var/cache # buildkit";
        assert_eq!(first("/usr/sbin/nginx", &[debian, install, copy, clean]), 1);
        assert_eq!(first("/srv/app/bin/run", &[debian, install, copy, clean]), 2);
        assert_eq!(first("/srv/app", &[debian, install, copy, clean]), 2);
        assert_eq!(first("/srv/application", &[debian, install, copy, clean]), 3, "the top one");
        assert_eq!(first("/bin/sh", &[debian, install, copy, clean]), 0);
        assert_eq!(first("/lib64/ld-linux-x86-64.so.2", &[debian, install, copy, clean]), 0);
        assert_eq!(first("/usr/local/bin/python3", &["", "RUN ln -s python3 /usr/local/bin/python", copy]), 1);
    }

    #[test]
    fn else_from_the_top() {
        assert_eq!(order(&["/app".into()], &[], 3), [2, 1, 0]);
        assert_eq!(order(&[], &["COPY / /".into()], 1), [0]);
        assert_eq!(order(&["/é/app".into()], &["COPY é /é".into(), String::new()], 2), [0, 1]);
    }
}
