//! How what is told in one of several forms is read: by its first character, so that a fault within is told by its place.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::{Hosts, Instant, OneHost};

impl<'de> Deserialize<'de> for Hosts {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(HostsVisitor)
    }
}

struct HostsVisitor;

impl<'de> Visitor<'de> for HostsVisitor {
    type Value = Hosts;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text such as node[01-04], or a list of hosts")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Hosts, E> {
        Ok(Hosts::List(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Hosts, A::Error> {
        let mut each = Vec::new();
        while let Some(one) = list.next_element()? {
            each.push(one);
        }
        Ok(Hosts::Each(each))
    }
}

impl<'de> Deserialize<'de> for OneHost {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(OneHostVisitor)
    }
}

struct OneHostVisitor;

impl<'de> Visitor<'de> for OneHostVisitor {
    type Value = OneHost;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a host's name, or an object with `host`")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<OneHost, E> {
        Ok(OneHost::Name(text.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<OneHost, A::Error> {
        Deserialize::deserialize(MapAccessDeserializer::new(map)).map(OneHost::Held)
    }
}

impl<'de> Deserialize<'de> for Instant {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(InstantVisitor)
    }
}

struct InstantVisitor;

impl Visitor<'_> for InstantVisitor {
    type Value = Instant;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an instant in RFC 3339 or Unix seconds")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Instant, E> {
        Ok(Instant::Text(text.to_owned()))
    }

    fn visit_u64<E: Error>(self, seconds: u64) -> Result<Instant, E> {
        Ok(Instant::Seconds(seconds.into()))
    }

    fn visit_i64<E: Error>(self, seconds: i64) -> Result<Instant, E> {
        Ok(Instant::Seconds(seconds.into()))
    }

    fn visit_f64<E: Error>(self, seconds: f64) -> Result<Instant, E> {
        serde_json::Number::from_f64(seconds).map(Instant::Seconds).ok_or_else(|| E::custom("no finite number"))
    }
}
