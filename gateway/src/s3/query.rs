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
        let name = self.0.split_once('=').map_or(self.0, |(name, _)| name);
        // Most are written as they are meant.
        if name.contains(['%', '+']) { self.decoded().0 } else { name.into() }
    }

    /// Its value.
    pub(super) fn value(self) -> Cow<'a, str> {
        self.decoded().1
    }

    fn decoded(self) -> (Cow<'a, str>, Cow<'a, str>) {
        parse(self.0.as_bytes()).next().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn parameters_are_those_of_the_library(query in "[a-c%+=&0-9A-F é-]{0,24}") {
            let own: Vec<_> = parameters(&query).map(|p| (p.name(), p.value())).collect();
            prop_assert_eq!(own, parse(query.as_bytes()).collect::<Vec<_>>());
        }
    }
}
