//! Where a setting's value is found: on the command line, in the environment, in the file, or in the table of defaults.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt;

use toml::de::{DeTable, DeValue};

use super::Refusal;
use super::table::{CONFIG, Form, SETTINGS, Setting, command, named, variable};

/// What our environment variables begin with.
pub(super) const PREFIX: &str = "WHEELHOUSE_CHAT_";

/// Where a value came from; it prints as the end of a complaint.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum From {
    Flag(&'static str),
    Environment(String),
    File { path: String, line: usize },
    Default,
}

impl fmt::Display for From {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(name) => write!(f, "from --{name}"),
            Self::Environment(variable) => write!(f, "from {variable}"),
            Self::File { path, line } => write!(f, "from {path}, line {line}"),
            Self::Default => f.write_str("the default"),
        }
    }
}

/// A setting's values as text, and where they came from. No list has more than one value, and may have none.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Found {
    pub(super) values: Vec<String>,
    pub(super) from: From,
}

/// All places, in the order of their precedence.
pub(super) struct Sources {
    flags: clap::ArgMatches,
    env: HashMap<OsString, OsString>,
    file: HashMap<&'static str, Found>,
}

impl Sources {
    pub(super) fn open(
        args: impl IntoIterator<Item = OsString>,
        env: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, Refusal> {
        let flags = command().try_get_matches_from(args).map_err(|error| refusal(&error))?;
        let ours = |(name, _): &(OsString, OsString)| name.to_string_lossy().starts_with(PREFIX);
        // A variable that is set to nothing is as good as none.
        let env: HashMap<_, _> =
            env.into_iter().filter(ours).filter(|(_, value)| !value.is_empty()).collect();
        let known = |name: &&OsString| !SETTINGS.iter().any(|s| ***name == *variable(s.name));
        if let Some(unknown) = env.keys().filter(known).min() {
            let name = unknown.to_string_lossy();
            return Err(Refusal::Bad(format!("{name}: there is no such setting (environment)")));
        }
        let mut sources = Self { flags, env, file: HashMap::new() };
        if let Some(path) =
            sources.maybe(CONFIG, |path| Ok(path.to_owned())).map_err(Refusal::Bad)?
        {
            let found = sources.find(CONFIG).map_err(Refusal::Bad)?;
            let text = std::fs::read_to_string(&path).map_err(|error| {
                Refusal::Bad(format!("config: {path} cannot be read: {error} ({})", found.from))
            })?;
            sources.file = parse(&path, &text).map_err(Refusal::Bad)?;
        }
        Ok(sources)
    }

    /// A setting that has a default.
    pub(super) fn one<T>(
        &self,
        name: &str,
        check: impl Fn(&str) -> Result<T, String>,
    ) -> Result<T, String> {
        Ok(self.maybe(name, check)?.expect("a setting with a default"))
    }

    /// A setting that may be unset.
    pub(super) fn maybe<T>(
        &self,
        name: &str,
        check: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Option<T>, String> {
        Ok(self.list(name, check)?.pop())
    }

    /// A setting of any number of values.
    pub(super) fn list<T>(
        &self,
        name: &str,
        check: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Vec<T>, String> {
        let Found { values, from } = self.find(name)?;
        let checked = values.iter().map(|value| check(value)).collect::<Result<_, _>>();
        checked.map_err(|why| format!("{name}: {why} ({from})"))
    }

    /// The values of the first place that has the setting.
    pub(super) fn find(&self, name: &str) -> Result<Found, String> {
        let setting = named(name);
        if let Some(values) = self.flags.get_many::<OsString>(name) {
            let from = From::Flag(setting.name);
            let values =
                values.map(|value| text(setting, value, &from)).collect::<Result<_, _>>()?;
            return Ok(Found { values, from });
        }
        let variable = variable(name);
        if let Some(value) = self.env.get(std::ffi::OsStr::new(&variable)) {
            let from = From::Environment(variable);
            let value = text(setting, value, &from)?;
            let values = match setting.form {
                Form::List => value.split(',').map(|one| one.trim().to_owned()).collect(),
                _ => vec![value],
            };
            return Ok(Found { values, from });
        }
        if let Some(found) = self.file.get(name) {
            return Ok(found.clone());
        }
        let values = setting.default.map(str::to_owned).into_iter().collect();
        Ok(Found { values, from: From::Default })
    }
}

fn text(setting: &Setting, value: &OsString, from: &From) -> Result<String, String> {
    let text = value.clone().into_string();
    text.map_err(|_| format!("{}: the value is not UTF-8 ({from})", setting.name))
}

/// What clap has to say, in one line; its help and version as they are.
fn refusal(error: &clap::Error) -> Refusal {
    use clap::error::ErrorKind::{DisplayHelp, DisplayVersion};
    let text = error.to_string();
    if matches!(error.kind(), DisplayHelp | DisplayVersion) {
        return Refusal::Show(text);
    }
    let first = text.lines().next().unwrap_or_default();
    let line = first.strip_prefix("error: ").unwrap_or(first).to_owned();
    Refusal::Bad(format!("{line}; --help tells all settings"))
}

/// The settings of a file, by their names.
fn parse(path: &str, text: &str) -> Result<HashMap<&'static str, Found>, String> {
    let line_of = |at: usize| text[..at].matches('\n').count() + 1;
    let table = DeTable::parse(text).map_err(|error| {
        let line = error.span().map_or(1, |span| line_of(span.start.min(text.len())));
        let what = error.message().lines().next().unwrap_or("not TOML").to_owned();
        format!("{path}, line {line}: {what}")
    })?;
    let mut settings = HashMap::new();
    for (key, value) in table.get_ref() {
        let line = line_of(key.span().start);
        let from = From::File { path: path.to_owned(), line };
        let name = key.get_ref().replace('_', "-");
        let known = SETTINGS.iter().find(|setting| setting.name == name && name != CONFIG);
        let setting =
            known.ok_or_else(|| format!("{}: there is no such setting ({from})", key.get_ref()))?;
        let values = values(setting, value.get_ref())
            .map_err(|why| format!("{}: {why} ({from})", setting.name))?;
        if settings.insert(setting.name, Found { values, from: from.clone() }).is_some() {
            return Err(format!("{}: it is set twice, with - and with _ ({from})", setting.name));
        }
    }
    Ok(settings)
}

fn values(setting: &Setting, value: &DeValue<'_>) -> Result<Vec<String>, String> {
    let wants = match setting.form {
        Form::Text => "a text in quotes",
        Form::Number => "a number without quotes",
        Form::Time => "a time in quotes, such as \"30s\", or a number of seconds",
        Form::List => "a list of texts, such as [\"one\", \"two\"]",
    };
    let wrong = |value: &DeValue<'_>| format!("it wants {wants}, and got {}", kind(value));
    match (setting.form, value) {
        (Form::Text | Form::Time | Form::List, DeValue::String(text)) => Ok(vec![text.to_string()]),
        (Form::Number | Form::Time, DeValue::Integer(number)) => Ok(vec![number.to_string()]),
        (Form::List, DeValue::Array(items)) => items
            .iter()
            .map(|item| match item.get_ref() {
                DeValue::String(text) => Ok(text.to_string()),
                other => Err(wrong(other)),
            })
            .collect(),
        (_, other) => Err(wrong(other)),
    }
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "a yes or no",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
