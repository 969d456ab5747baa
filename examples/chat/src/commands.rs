//! What begins with a slash: read here, carried out by the hub. The table that `/help` and the page show stands beside the
//! `match` that reads it, and a test holds the two together.

use crate::event::CommandHelp;

/// Every command there is, in the order in which `/help` lists them.
pub(crate) const COMMANDS: &[CommandHelp] = &[
    CommandHelp { name: "/help", args: "", help: "list the commands" },
    CommandHelp { name: "/nick", args: "NAME", help: "change your name" },
    CommandHelp { name: "/join", args: "ROOM", help: "enter a room, or make it" },
    CommandHelp { name: "/leave", args: "[ROOM]", help: "leave a room" },
    CommandHelp { name: "/rooms", args: "", help: "list the rooms" },
    CommandHelp { name: "/who", args: "[ROOM]", help: "list the people in a room" },
    CommandHelp { name: "/me", args: "TEXT", help: "say what you do" },
    CommandHelp { name: "/msg", args: "NAME TEXT", help: "say something to one person alone" },
    CommandHelp {
        name: "/clear",
        args: "[room]",
        help: "clear your view; with the word room, everybody's history of it (its owner may)",
    },
];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Command<'a> {
    Help,
    Nick(&'a str),
    Join(&'a str),
    Leave(Option<&'a str>),
    Rooms,
    Who(Option<&'a str>),
    Me(&'a str),
    Msg { to: &'a str, text: &'a str },
    ClearView,
    ClearRoom,
}

/// What a text is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Input<'a> {
    /// Something to say. A second slash at its beginning has been taken off.
    Talk(&'a str),
    Command(Command<'a>),
    /// A command that lacks something: how it is used.
    Misused(&'static CommandHelp),
    /// No command that there is.
    Unknown(&'a str),
}

impl<'a> Input<'a> {
    pub(crate) fn of(text: &'a str) -> Self {
        let Some(slashed) = text.strip_prefix('/') else { return Self::Talk(text) };
        if slashed.starts_with('/') {
            return Self::Talk(slashed);
        }
        let (name, rest) = slashed.split_once(char::is_whitespace).unwrap_or((slashed, ""));
        let rest = rest.trim();
        let word = rest.split_whitespace().next();
        let command = match (name.to_lowercase().as_str(), word) {
            ("help", _) => Some(Command::Help),
            ("nick", word) => word.map(Command::Nick),
            ("join", word) => word.map(Command::Join),
            ("leave", word) => Some(Command::Leave(word)),
            ("rooms", _) => Some(Command::Rooms),
            ("who", word) => Some(Command::Who(word)),
            ("me", word) => word.map(|_| Command::Me(rest)),
            ("msg", _) => rest
                .split_once(char::is_whitespace)
                .map(|(to, text)| Command::Msg { to, text: text.trim_start() }),
            ("clear", None) => Some(Command::ClearView),
            ("clear", Some("room")) => Some(Command::ClearRoom),
            ("clear", Some(_)) => None,
            _ => return Self::Unknown(name),
        };
        match command {
            Some(command) => Self::Command(command),
            None => help_on(name).map_or(Self::Unknown(name), Self::Misused),
        }
    }
}

fn help_on(name: &str) -> Option<&'static CommandHelp> {
    COMMANDS.iter().find(|help| help.name[1..].eq_ignore_ascii_case(name))
}

/// The answer to `/help`, a line for each.
pub(crate) fn help() -> String {
    let line = |help: &CommandHelp| format!("{} {} – {}", help.name, help.args, help.help);
    let lines: Vec<String> = COMMANDS.iter().map(|help| line(help).replace("  –", " –")).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_of_the_table_is_read() {
        for help in COMMANDS {
            let with_words = format!("{} room text", help.name);
            assert!(matches!(Input::of(&with_words), Input::Command(_)), "{with_words}");
            let alone = Input::of(help.name);
            let needs = !help.args.is_empty() && !help.args.starts_with('[');
            assert_eq!(alone == Input::Misused(help), needs, "{}: {alone:?}", help.name);
        }
        assert_eq!(super::help().lines().count(), COMMANDS.len());
    }

    #[test]
    fn words_and_text_are_taken_as_they_are_meant() {
        let cases = [
            ("hello /me", Input::Talk("hello /me")),
            ("//etc/hosts", Input::Talk("/etc/hosts")),
            ("/me  waves  at all ", Input::Command(Command::Me("waves  at all"))),
            ("/msg bob  hi  there", Input::Command(Command::Msg { to: "bob", text: "hi  there" })),
            ("/NICK\tann", Input::Command(Command::Nick("ann"))),
            ("/leave", Input::Command(Command::Leave(None))),
            ("/clear", Input::Command(Command::ClearView)),
            ("/clear room", Input::Command(Command::ClearRoom)),
            ("/clear everything", Input::Misused(&COMMANDS[8])),
            ("/msg bob", Input::Misused(&COMMANDS[7])),
            ("/dance", Input::Unknown("dance")),
            ("/", Input::Unknown("")),
            ("/ me", Input::Unknown("")),
        ];
        for (text, meant) in cases {
            assert_eq!(Input::of(text), meant, "{text:?}");
        }
    }
}
