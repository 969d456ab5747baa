//! Who is in which room on the other nodes.
//!
//! A session that moves from one node to another is on both for a moment. So what is told of is not that one node's list
//! has changed but that somebody is there who was on none, or is on none who was.

use std::collections::{BTreeSet, HashMap};

/// A room and a name.
pub(super) type Place = (String, String);

#[derive(Default, Debug)]
pub(super) struct Roster {
    nodes: HashMap<String, BTreeSet<Place>>,
}

/// What a node's new list comes to.
#[derive(Default, PartialEq, Eq, Debug)]
pub(super) struct Difference {
    pub(super) came: Vec<Place>,
    pub(super) went: Vec<Place>,
}

impl Roster {
    /// Forgets all that was, and takes these lists.
    pub(super) fn reset(&mut self, lists: impl IntoIterator<Item = (String, Vec<Place>)>) {
        let sets = lists.into_iter().map(|(node, people)| (node, people.into_iter().collect()));
        self.nodes = sets.collect();
    }

    /// Everybody, once, by room and name.
    pub(super) fn everybody(&self) -> Vec<Place> {
        self.nodes.values().flatten().cloned().collect::<BTreeSet<_>>().into_iter().collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.nodes.values().all(BTreeSet::is_empty)
    }

    /// Whether somebody is there who was nowhere before.
    pub(super) fn join(&mut self, node: &str, place: Place) -> bool {
        let new = !self.has(&place);
        self.list(node).insert(place);
        new
    }

    /// Whether somebody is nowhere now who was there before.
    pub(super) fn leave(&mut self, node: &str, place: &Place) -> bool {
        self.list(node).remove(place) && !self.has(place)
    }

    /// Whether anybody there had the old name.
    pub(super) fn nick(&mut self, node: &str, was: &str, user: &str) -> bool {
        let list = self.list(node);
        let rooms: Vec<_> =
            list.iter().filter(|(_, name)| name == was).map(|(room, _)| room.clone()).collect();
        for room in &rooms {
            list.remove(&(room.clone(), was.to_owned()));
            list.insert((room.clone(), user.to_owned()));
        }
        !rooms.is_empty()
    }

    /// Puts a list in place of a node's old one.
    pub(super) fn replace(&mut self, node: &str, people: Vec<Place>) -> Difference {
        let people: BTreeSet<_> = people.into_iter().collect();
        let old = self.nodes.remove(node).unwrap_or_default();
        let elsewhere = |place: &&Place| !self.has(place);
        let difference = Difference {
            came: people.difference(&old).filter(elsewhere).cloned().collect(),
            went: old.difference(&people).filter(elsewhere).cloned().collect(),
        };
        if !people.is_empty() {
            self.nodes.insert(node.to_owned(), people);
        }
        difference
    }

    fn list(&mut self, node: &str) -> &mut BTreeSet<Place> {
        self.nodes.entry(node.to_owned()).or_default()
    }

    fn has(&self, place: &Place) -> bool {
        self.nodes.values().any(|list| list.contains(place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(room: &str, name: &str) -> Place {
        (room.into(), name.into())
    }

    #[test]
    fn who_moves_from_node_to_node_neither_comes_nor_goes() {
        let mut roster = Roster::default();
        assert!(roster.join("a", at("lobby", "ann")));
        assert!(!roster.join("b", at("lobby", "ann")), "there already");
        assert!(!roster.leave("a", &at("lobby", "ann")), "still there");
        assert!(roster.leave("b", &at("lobby", "ann")));
        assert!(!roster.leave("b", &at("lobby", "ann")), "once");
        assert!(roster.is_empty());
    }

    #[test]
    fn a_new_list_tells_what_has_changed_for_others() {
        let mut roster = Roster::default();
        let lobby = |names: &[&str]| names.iter().map(|name| at("lobby", name)).collect::<Vec<_>>();
        roster.reset([("a".into(), lobby(&["ann", "bob"])), ("b".into(), lobby(&["bob", "cid"]))]);
        assert_eq!(roster.everybody(), lobby(&["ann", "bob", "cid"]));
        let difference = roster.replace("a", lobby(&["cid", "dan"]));
        assert_eq!(difference, Difference { came: lobby(&["dan"]), went: lobby(&["ann"]) });
        assert_eq!(roster.replace("a", vec![]).went, lobby(&["dan"]));
        assert_eq!(roster.everybody(), lobby(&["bob", "cid"]));
    }

    #[test]
    fn a_nick_is_of_all_rooms_of_that_node() {
        let mut roster = Roster::default();
        roster.join("a", at("den", "ann"));
        roster.join("a", at("lobby", "ann"));
        assert!(roster.nick("a", "ann", "eve"));
        assert!(!roster.nick("a", "ann", "eve"));
        assert_eq!(roster.everybody(), [at("den", "eve"), at("lobby", "eve")]);
    }
}
