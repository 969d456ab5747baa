//! All that the server says, in each of its languages. A new language is a variant and a function.

use clap::ValueEnum;

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Lang {
    /// English
    En,
    /// Russian
    Ru,
    /// Ukrainian
    Uk,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Line<'a> {
    WhatName,
    NoName,
    BadName { longest: usize },
    NameTaken(&'a str),
    Joined(&'a str),
    Left(&'a str),
    Renamed { old: &'a str, new: &'a str },
    Online { names: &'a str, more: usize },
    Help,
    WhatDoing,
    NoSuchCommand(&'a str),
    TooLong { max: usize },
    TooFast,
    Goodbye,
    Stopping,
}

impl Lang {
    pub(crate) fn say(self, line: Line<'_>) -> String {
        match self {
            Self::En => english(line),
            Self::Ru => russian(line),
            Self::Uk => ukrainian(line),
        }
    }
}

fn english(line: Line<'_>) -> String {
    match line {
        Line::WhatName => "Welcome! What is your name?".into(),
        Line::NoName => "No name, no chat. Goodbye!".into(),
        Line::BadName { longest } => {
            format!(
                "A name is 1 to {longest} letters, digits, hyphens, apostrophes or \
                 underscores. Another, please?"
            )
        }
        Line::NameTaken(name) => format!("The name {name} is taken. Another, please?"),
        Line::Joined(name) => format!("{name} has joined the chat."),
        Line::Left(name) => format!("{name} has left the chat."),
        Line::Renamed { old, new } => format!("{old} is now {new}."),
        Line::Online { names, more: 0 } => format!("Online: {names}"),
        Line::Online { names, more } => format!("Online: {names} and {more} more"),
        Line::Help => "/who: who is here; /nick NAME: another name; /me DOES: what you do; /quit: \
                 leave; //: a line with a slash"
            .into(),
        Line::WhatDoing => "What are you doing? /me waves, for example.".into(),
        Line::NoSuchCommand(command) => {
            format!("There is no command /{command}, sorry; /help lists those there are.")
        }
        Line::TooLong { max } => format!("A message is at most {max} bytes. Goodbye!"),
        Line::TooFast => "Not so fast, please: your lines are read one after another.".into(),
        Line::Goodbye => "Goodbye!".into(),
        Line::Stopping => "The server is stopping. Goodbye!".into(),
    }
}

fn russian(line: Line<'_>) -> String {
    match line {
        Line::WhatName => "Добро пожаловать! Как вас зовут?".into(),
        Line::NoName => "Без имени в чат нельзя. До свидания!".into(),
        Line::BadName { longest } => {
            format!(
                "Имя: от 1 до {longest} букв, цифр, дефисов, апострофов и \
                 подчёркиваний. Назовите другое."
            )
        }
        Line::NameTaken(name) => format!("Имя {name} занято. Назовите другое."),
        Line::Joined(name) => format!("К нам присоединился: {name}"),
        Line::Left(name) => format!("Клиент {name} покинул чат."),
        Line::Renamed { old, new } => format!("{old} теперь {new}."),
        Line::Online { names, more: 0 } => format!("Онлайн: {names}"),
        Line::Online { names, more } => format!("Онлайн: {names} и ещё {more}"),
        Line::Help => "/who: кто здесь; /nick ИМЯ: сменить имя; /me ЧТО: что вы делаете; /quit: \
                 уйти; //: строка с косой чертой"
            .into(),
        Line::WhatDoing => "Что вы делаете? Например: /me машет рукой.".into(),
        Line::NoSuchCommand(command) => {
            format!("Команды /{command}, к сожалению, нет; список даёт /help.")
        }
        Line::TooLong { max } => format!("Сообщение длиннее {max} байт. До свидания!"),
        Line::TooFast => "Не так быстро, пожалуйста: ваши строки читаются по очереди.".into(),
        Line::Goodbye => "До свидания!".into(),
        Line::Stopping => "Сервер останавливается. До свидания!".into(),
    }
}

fn ukrainian(line: Line<'_>) -> String {
    match line {
        Line::WhatName => "Ласкаво просимо! Як вас звати?".into(),
        Line::NoName => "Без імені в чат не можна. До побачення!".into(),
        Line::BadName { longest } => {
            format!(
                "Ім'я: від 1 до {longest} літер, цифр, дефісів, апострофів і \
                 підкреслень. Назвіть інше."
            )
        }
        Line::NameTaken(name) => format!("Ім'я {name} зайняте. Назвіть інше."),
        Line::Joined(name) => format!("До нас приєднався: {name}"),
        Line::Left(name) => format!("Клієнт {name} покинув чат."),
        Line::Renamed { old, new } => format!("{old} тепер {new}."),
        Line::Online { names, more: 0 } => format!("Онлайн: {names}"),
        Line::Online { names, more } => format!("Онлайн: {names} та ще {more}"),
        Line::Help => {
            "/who: хто тут; /nick ІМ'Я: інше ім'я; /me ЩО: що ви робите; /quit: піти; //: \
                 рядок зі скісною рискою"
                .into()
        }
        Line::WhatDoing => "Що ви робите? Наприклад: /me махає рукою.".into(),
        Line::NoSuchCommand(command) => {
            format!("Команди /{command}, на жаль, немає; перелік дає /help.")
        }
        Line::TooLong { max } => format!("Повідомлення довше за {max} байтів. До побачення!"),
        Line::TooFast => "Не так швидко, будь ласка: ваші рядки читаються по черзі.".into(),
        Line::Goodbye => "До побачення!".into(),
        Line::Stopping => "Сервер зупиняється. До побачення!".into(),
    }
}
