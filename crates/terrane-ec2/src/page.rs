//! Pages of listings: `MaxResults` and an opaque `NextToken`.

use std::fmt;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::error::Ec2Error;
use crate::service::ServiceError;

/// Results of a page that says nothing of its length, and the most that one can have.
pub(crate) const RESULTS_MAX: usize = 1000;
/// The least that a page can be asked for.
const RESULTS_MIN: i32 = 5;
/// Resources that a request may name.
pub(crate) const IDS_MAX: usize = 1000;
/// Version of what a token holds.
const TOKEN_VERSION: u8 = 1;

/// What a listing is read from, in the order of identifiers.
#[async_trait]
pub(crate) trait Source: Sync {
    /// What tells items apart and orders them; its text is what tokens hold.
    type Id: fmt::Display + Send + Sync;
    /// What is listed.
    type Item: Send;

    /// Those after this one, at most so many; fewer mean that there are no more.
    async fn fetch(&self, after: Option<&Self::Id>, limit: usize) -> Result<Vec<Self::Item>, ServiceError>;

    /// An item's place in the order.
    fn id(&self, item: &Self::Item) -> Self::Id;
}

/// Which page is wanted.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Page<Id> {
    /// The last one of the page before.
    pub(crate) after: Option<Id>,
    /// How many at most.
    pub(crate) limit: usize,
}

impl<Id: fmt::Display> Page<Id> {
    /// Reads `NextToken` and `MaxResults`. More than can be had means as many as can be had.
    ///
    /// # Errors
    /// `InvalidParameterValue`, `InvalidNextToken`.
    pub(crate) fn of(
        token: Option<&str>,
        results: Option<i32>,
        parse: impl FnOnce(&str) -> Option<Id>,
    ) -> Result<Self, Ec2Error> {
        if let Some(results) = results.filter(|results| *results < RESULTS_MIN) {
            let expected = format_args!("Expecting a value greater than or equal to {RESULTS_MIN}.");
            return Err(Ec2Error::invalid_value(&results.to_string(), "MaxResults", expected));
        }
        let limit = results.and_then(|n| usize::try_from(n).ok()).unwrap_or(RESULTS_MAX).min(RESULTS_MAX);
        let Some(token) = token else { return Ok(Self { after: None, limit }) };
        let invalid = || Ec2Error::new("InvalidNextToken", "The specified NextToken is not valid.");
        let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| invalid())?;
        let key = bytes.strip_prefix(&[TOKEN_VERSION]).and_then(|key| std::str::from_utf8(key).ok());
        let after = key.and_then(parse).ok_or_else(invalid)?;
        Ok(Self { after: Some(after), limit })
    }

    /// The first so many that pass, and the token of the page after them, if there are more.
    ///
    /// # Errors
    /// What the source meets.
    pub(crate) async fn fill<S: Source<Id = Id>>(
        self,
        source: &S,
        passes: impl Fn(&S::Item) -> bool,
    ) -> Result<(Vec<S::Item>, Option<String>), Ec2Error> {
        let mut found: Vec<S::Item> = Vec::new();
        let mut after = self.after;
        loop {
            let batch = source.fetch(after.as_ref(), RESULTS_MAX).await?;
            let is_last = batch.len() < RESULTS_MAX;
            after = batch.last().map(|item| source.id(item));
            found.extend(batch.into_iter().filter(&passes));
            if found.len() > self.limit {
                found.truncate(self.limit);
                let token = found.last().map(|last| token(&source.id(last).to_string()));
                return Ok((found, token));
            }
            if is_last {
                return Ok((found, None));
            }
        }
    }
}

fn token(key: &str) -> String {
    let mut bytes = vec![TOKEN_VERSION];
    bytes.extend_from_slice(key.as_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Pages are of listings: who names resources gets these.
///
/// # Errors
/// `InvalidParameterCombination`; `InvalidParameterValue` if there are too many of them.
pub(crate) fn not_with_ids(
    ids: &[String],
    name: &str,
    token: Option<&str>,
    results: Option<i32>,
) -> Result<(), Ec2Error> {
    if ids.len() > IDS_MAX {
        return Err(Ec2Error::invalid(format!("A request may name {IDS_MAX} resources in {name}.")));
    }
    if !ids.is_empty() && (token.is_some() || results.is_some()) {
        let with = if results.is_some() { "MaxResults" } else { "NextToken" };
        let text = format!("The parameter {name} cannot be used with the parameter {with}");
        return Err(Ec2Error::combination(text));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 0 to 2,499.
    struct Numbers;

    #[async_trait]
    impl Source for Numbers {
        type Id = u32;
        type Item = u32;

        async fn fetch(&self, after: Option<&u32>, limit: usize) -> Result<Vec<u32>, ServiceError> {
            Ok((after.map_or(0, |after| after + 1)..2500).take(limit).collect())
        }

        fn id(&self, item: &u32) -> u32 {
            *item
        }
    }

    fn page(token: Option<&str>, results: Option<i32>) -> Result<Page<u32>, &'static str> {
        Page::of(token, results, |text| text.parse().ok()).map_err(|error| error.code())
    }

    #[test]
    fn lengths_and_tokens() {
        assert_eq!(page(None, None), Ok(Page { after: None, limit: 1000 }));
        assert_eq!(page(Some(&token("7")), Some(5)), Ok(Page { after: Some(7), limit: 5 }));
        assert_eq!(page(None, Some(5000)), Ok(Page { after: None, limit: 1000 }));
        assert_eq!(page(None, Some(4)), Err("InvalidParameterValue"));
        assert_eq!(page(None, Some(-1)), Err("InvalidParameterValue"));
        for bad in ["", "AQ", "Ag", "***", &token("x")] {
            assert_eq!(page(Some(bad), None), Err("InvalidNextToken"), "{bad}");
        }
        assert_eq!(token("7"), "ATc", "tokens live through upgrades");
    }

    #[tokio::test]
    async fn pages_are_complete_and_end() {
        for limit in [5, 7, 500, 1000] {
            let (mut seen, mut next) = (Vec::new(), None);
            loop {
                let page: Page<u32> = Page::of(next.as_deref(), Some(limit), |t| t.parse().ok()).unwrap();
                let (found, token) = page.fill(&Numbers, |n| n % 3 == 0).await.unwrap();
                assert!(found.len() <= limit as usize);
                seen.extend(found);
                next = token;
                if next.is_none() {
                    break;
                }
            }
            let expected: Vec<u32> = (0..2500).filter(|n| n % 3 == 0).collect();
            assert_eq!(seen, expected);
        }
    }

    #[test]
    fn pages_are_of_listings() {
        let ids = ["vol-1".to_owned()];
        assert!(not_with_ids(&ids, "VolumeId", None, None).is_ok());
        assert!(not_with_ids(&[], "VolumeId", Some("x"), Some(5)).is_ok());
        assert!(not_with_ids(&ids, "VolumeId", None, Some(5)).is_err());
        assert!(not_with_ids(&ids, "VolumeId", Some("x"), None).is_err());
        assert!(not_with_ids(&vec![String::new(); 1001], "VolumeId", None, None).is_err());
    }
}
