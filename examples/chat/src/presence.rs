//! Who came, went or changed name, as told to the others in a room.
//!
//! In a small room each is told at once. In a large one that would be a frame for each of n people for each of n people
//! who come (and all come back at once when a server restarts), so from [`LARGE`] people on they are added up, and told
//! together once a second: the work is then one frame for each person in a second, however many come and go.

/// A room with more people than this is told of comings and goings once a second, and of nobody's typing.
pub(crate) const LARGE: usize = 200;

/// Names in one summary; the rest is a number.
const NAMED: usize = 50;

/// What has happened in a large room since the last second.
#[derive(Default, Debug)]
pub(crate) struct Crowd {
    pub(crate) joined: Vec<String>,
    pub(crate) joins: usize,
    pub(crate) left: Vec<String>,
    pub(crate) leaves: usize,
}

impl Crowd {
    pub(crate) fn came(&mut self, name: &str) {
        self.joins += 1;
        note(&mut self.joined, name);
    }

    pub(crate) fn went(&mut self, name: &str) {
        self.leaves += 1;
        note(&mut self.left, name);
    }

    /// What there is to tell, once.
    pub(crate) fn take(&mut self) -> Option<Self> {
        let any = self.joins + self.leaves > 0;
        any.then(|| std::mem::take(self))
    }
}

fn note(names: &mut Vec<String>, name: &str) {
    if names.len() < NAMED {
        names.push(name.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_is_told_once_and_names_a_few() {
        let mut crowd = Crowd::default();
        assert!(crowd.take().is_none());
        for person in 0..1_000 {
            crowd.came(&format!("p{person}"));
        }
        crowd.went("p3");
        let told = crowd.take().expect("something to tell");
        assert_eq!((told.joins, told.joined.len(), told.leaves), (1_000, NAMED, 1));
        assert_eq!(told.left, ["p3"]);
        assert!(crowd.take().is_none(), "once");
    }
}
