//! Parameters of a query, named as `s3s` names them: an escaped name is the same name, and would else go unseen
//! here and be obeyed there. What nobody asks for is not decoded.

use std::borrow::Cow;

use form_urlencoded::parse;

/// One parameter, as it came.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parameter<'a>(&'a str);

/// The parameters of a query.
pub(super) fn parameters(query: &str) -> impl Iterator<Item = Parameter<'_>> {
    query.split('&').filter(|pair| !pair.is_empty()).map(Parameter)
}

impl<'a> Parameter<'a> {
    /// Its name.
    pub(super) fn name(self) -> Cow<'a, str> {
        let (name, _) = self.halves();
        // Most are written as they are meant.
        if is_escaped(name) { self.decoded().0 } else { name.into() }
    }

    /// Whether this is its name.
    pub(super) fn is(self, name: &str) -> bool {
        let [own, other] = [self.0, name].map(|text| text.as_bytes().first());
        // Few begin alike; what is escaped may stand for anything.
        (own == other || other.is_none() || matches!(own, Some(b'%' | b'+'))) && self.name() == name
    }

    /// Its value.
    pub(super) fn value(self) -> Cow<'a, str> {
        let (_, value) = self.halves();
        if is_escaped(value) { self.decoded().1 } else { value.into() }
    }

    fn halves(self) -> (&'a str, &'a str) {
        let at = self.0.bytes().position(|byte| byte == b'=');
        at.and_then(|at| Some((self.0.get(..at)?, self.0.get(at + 1..)?))).unwrap_or((self.0, ""))
    }

    fn decoded(self) -> (Cow<'a, str>, Cow<'a, str>) {
        parse(self.0.as_bytes()).next().unwrap_or_default()
    }
}

fn is_escaped(text: &str) -> bool {
    text.bytes().any(|byte| matches!(byte, b'%' | b'+'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn parameters_are_those_of_the_library(query in "[a-c%+=&0-9A-F é-]{0,24}") {
            let own: Vec<_> = parameters(&query).map(|p| (p.name(), p.value())).collect();
            prop_assert_eq!(&own, &parse(query.as_bytes()).collect::<Vec<_>>());
            for (parameter, (name, _)) in parameters(&query).zip(&own) {
                for other in own.iter().map(|(name, _)| &**name).chain(["", "a", "+"]) {
                    prop_assert_eq!(parameter.is(other), name == other);
                }
            }
        }
    }
}
