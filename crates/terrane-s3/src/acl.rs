//! Access control lists: canned ones, grants in headers and documents, their stored form, and what they allow.
//!
//! S3 API Reference, "Access control list (ACL) overview". A list grants rights to accounts, to all signed
//! requests, or to everybody; an account's own policy is not decided here.

use http::{HeaderMap, HeaderName};
use s3s::dto;
use s3s::{S3Error, S3ErrorCode, S3Result};
use serde::{Deserialize, Serialize};
use terrane_types::AccountId;

use crate::errors::invalid_argument;

const ALL_USERS: &str = "http://acs.amazonaws.com/groups/global/AllUsers";
const AUTHENTICATED_USERS: &str = "http://acs.amazonaws.com/groups/global/AuthenticatedUsers";
const LOG_DELIVERY: &str = "http://acs.amazonaws.com/groups/s3/LogDelivery";

/// Most grants in a list.
const GRANTS_MAX: usize = 100;

/// Who is granted something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Grantee {
    Account(AccountId),
    AllUsers,
    AuthenticatedUsers,
    LogDelivery,
}

/// What is granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum Right {
    Read,
    Write,
    ReadAcp,
    WriteAcp,
    FullControl,
}

impl Right {
    const ALL: [Self; 5] = [Self::Read, Self::Write, Self::ReadAcp, Self::WriteAcp, Self::FullControl];

    fn as_str(self) -> &'static str {
        match self {
            Self::Read => dto::Permission::READ,
            Self::Write => dto::Permission::WRITE,
            Self::ReadAcp => dto::Permission::READ_ACP,
            Self::WriteAcp => dto::Permission::WRITE_ACP,
            Self::FullControl => dto::Permission::FULL_CONTROL,
        }
    }
}

/// One line of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Grant {
    to: Grantee,
    may: Right,
}

/// An access control list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Acl {
    /// Version of the stored form.
    v: u8,
    pub(crate) owner: AccountId,
    pub(crate) grants: Vec<Grant>,
}

impl Acl {
    fn new(owner: AccountId, grants: Vec<Grant>) -> Self {
        Self { v: 1, owner, grants }
    }

    /// The owner and nobody else.
    pub(crate) fn private(owner: &AccountId) -> Self {
        let to = Grantee::Account(owner.clone());
        Self::new(owner.clone(), vec![Grant { to, may: Right::FullControl }])
    }

    /// A canned list; `None` for unknown names.
    pub(crate) fn canned(name: &str, owner: &AccountId, bucket_owner: &AccountId) -> Option<Self> {
        let mut acl = Self::private(owner);
        let mut add = |to: Grantee, may: Right| acl.grants.push(Grant { to, may });
        match name {
            "private" => {}
            "public-read" => add(Grantee::AllUsers, Right::Read),
            "public-read-write" => {
                add(Grantee::AllUsers, Right::Read);
                add(Grantee::AllUsers, Right::Write);
            }
            "authenticated-read" => add(Grantee::AuthenticatedUsers, Right::Read),
            "log-delivery-write" => {
                add(Grantee::LogDelivery, Right::Write);
                add(Grantee::LogDelivery, Right::ReadAcp);
            }
            "bucket-owner-read" if owner != bucket_owner => {
                add(Grantee::Account(bucket_owner.clone()), Right::Read);
            }
            "bucket-owner-full-control" if owner != bucket_owner => {
                add(Grantee::Account(bucket_owner.clone()), Right::FullControl);
            }
            "bucket-owner-read" | "bucket-owner-full-control" => {}
            _ => return None,
        }
        Some(acl)
    }

    /// From `x-amz-grant-*` headers; `None` if there are none. The owner gets nothing that is not granted.
    pub(crate) fn from_headers(owner: &AccountId, headers: &GrantHeaders<'_>) -> S3Result<Option<Self>> {
        let mut grants = Vec::new();
        for (value, may) in [
            (headers.read, Right::Read),
            (headers.write, Right::Write),
            (headers.read_acp, Right::ReadAcp),
            (headers.write_acp, Right::WriteAcp),
            (headers.full_control, Right::FullControl),
        ] {
            for text in value.into_iter().flat_map(|v| v.split(',')) {
                grants.push(Grant { to: parse_grantee(text.trim())?, may });
            }
        }
        Ok(if grants.is_empty() { None } else { Some(bounded(Self::new(owner.clone(), grants))?) })
    }

    /// From a document. Its owner must be the present one.
    pub(crate) fn from_document(owner: &AccountId, document: dto::AccessControlPolicy) -> S3Result<Self> {
        let malformed =
            || S3Error::with_message(S3ErrorCode::MalformedACLError, "The ACL is not well-formed");
        if let Some(id) = document.owner.and_then(|o| o.id)
            && id != owner.as_str()
        {
            return Err(S3Error::with_message(S3ErrorCode::AccessDenied, "An ACL cannot change the owner"));
        }
        let mut grants = Vec::new();
        for grant in document.grants.ok_or_else(malformed)? {
            let grantee = grant.grantee.ok_or_else(malformed)?;
            let may = grant.permission.ok_or_else(malformed)?;
            let may = Right::ALL.into_iter().find(|r| r.as_str() == may.as_str()).ok_or_else(malformed)?;
            let to = match (grantee.id, grantee.uri, grantee.email_address) {
                (Some(id), _, _) => account_grantee(&id)?,
                (None, Some(uri), _) => group(&uri).ok_or_else(malformed)?,
                (None, None, Some(_)) => return Err(no_email()),
                (None, None, None) => return Err(malformed()),
            };
            grants.push(Grant { to, may });
        }
        bounded(Self::new(owner.clone(), grants))
    }

    /// The document of Get…Acl.
    pub(crate) fn to_grants(&self) -> Vec<dto::Grant> {
        let grant = |grant: &Grant| {
            let (kind, id, uri) = match &grant.to {
                Grantee::Account(id) => (dto::Type::CANONICAL_USER, Some(id.to_string()), None),
                Grantee::AllUsers => (dto::Type::GROUP, None, Some(ALL_USERS.to_owned())),
                Grantee::AuthenticatedUsers => (dto::Type::GROUP, None, Some(AUTHENTICATED_USERS.to_owned())),
                Grantee::LogDelivery => (dto::Type::GROUP, None, Some(LOG_DELIVERY.to_owned())),
            };
            let grantee = dto::Grantee {
                display_name: id.clone(),
                email_address: None,
                id,
                type_: dto::Type::from_static(kind),
                uri,
            };
            let permission = dto::Permission::from_static(grant.may.as_str());
            dto::Grant { grantee: Some(grantee), permission: Some(permission) }
        };
        // Groups come first, as in other implementations: clients compare lists in order.
        let (accounts, groups): (Vec<_>, Vec<_>) =
            self.grants.iter().partition(|g| matches!(g.to, Grantee::Account(_)));
        groups.into_iter().chain(accounts).map(grant).collect()
    }

    /// Whether the list grants a right to the account (`None`: an unsigned request).
    pub(crate) fn grants(&self, account: Option<&AccountId>, right: Right, ignore_public: bool) -> bool {
        // An owner can always read and mend the list.
        let acp = matches!(right, Right::ReadAcp | Right::WriteAcp);
        if acp && account == Some(&self.owner) {
            return true;
        }
        self.grants.iter().any(|grant| {
            let right = grant.may == right || grant.may == Right::FullControl;
            let to_caller = match &grant.to {
                Grantee::Account(id) => Some(id) == account,
                Grantee::AllUsers => !ignore_public,
                Grantee::AuthenticatedUsers => account.is_some() && !ignore_public,
                Grantee::LogDelivery => false,
            };
            right && to_caller
        })
    }

    /// Whether everybody, or everybody with a key, is granted something.
    pub(crate) fn is_public(&self) -> bool {
        self.grants.iter().any(|g| matches!(g.to, Grantee::AllUsers | Grantee::AuthenticatedUsers))
    }

    /// The accounts that the list names.
    pub(crate) fn accounts(&self) -> impl Iterator<Item = &AccountId> {
        self.grants.iter().filter_map(|g| match &g.to {
            Grantee::Account(id) => Some(id),
            _ => None,
        })
    }

    /// The stored form: JSON with a version.
    pub(crate) fn to_stored(&self) -> String {
        serde_json::to_string(self).expect("a list of plain values serialises")
    }

    /// Reads the stored form; a list that cannot be read grants nothing.
    pub(crate) fn from_stored(stored: &str) -> Option<Self> {
        serde_json::from_str::<Self>(stored).ok().filter(|acl| acl.v == 1)
    }
}

/// The `x-amz-grant-*` headers of a request.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct GrantHeaders<'a> {
    pub(crate) read: Option<&'a str>,
    pub(crate) write: Option<&'a str>,
    pub(crate) read_acp: Option<&'a str>,
    pub(crate) write_acp: Option<&'a str>,
    pub(crate) full_control: Option<&'a str>,
}

impl<'a> GrantHeaders<'a> {
    pub(crate) fn of(headers: &'a HeaderMap) -> Self {
        let text = |name: HeaderName| headers.get(name).and_then(|v| v.to_str().ok());
        Self {
            read: text(s3s::header::X_AMZ_GRANT_READ),
            write: text(s3s::header::X_AMZ_GRANT_WRITE),
            read_acp: text(s3s::header::X_AMZ_GRANT_READ_ACP),
            write_acp: text(s3s::header::X_AMZ_GRANT_WRITE_ACP),
            full_control: text(s3s::header::X_AMZ_GRANT_FULL_CONTROL),
        }
    }
}

fn bounded(acl: Acl) -> S3Result<Acl> {
    if acl.grants.len() > GRANTS_MAX {
        let message = format!("An ACL has at most {GRANTS_MAX} grants");
        return Err(S3Error::with_message(S3ErrorCode::InvalidArgument, message));
    }
    Ok(acl)
}

/// `id="…"`, `uri="…"` or `emailAddress="…"`.
fn parse_grantee(text: &str) -> S3Result<Grantee> {
    let bad = || invalid_argument("Argument format not recognized: a grantee is id=, uri= or emailAddress=");
    let (kind, value) = text.split_once('=').ok_or_else(bad)?;
    let value = value.trim().trim_matches('"');
    match kind.trim() {
        "id" => account_grantee(value),
        "uri" => group(value).ok_or_else(|| invalid_argument("Invalid group uri")),
        "emailAddress" => Err(no_email()),
        _ => Err(bad()),
    }
}

fn account_grantee(id: &str) -> S3Result<Grantee> {
    AccountId::parse(id).map(Grantee::Account).map_err(|_| invalid_argument("Invalid id"))
}

fn group(uri: &str) -> Option<Grantee> {
    match uri {
        ALL_USERS => Some(Grantee::AllUsers),
        AUTHENTICATED_USERS => Some(Grantee::AuthenticatedUsers),
        LOG_DELIVERY => Some(Grantee::LogDelivery),
        _ => None,
    }
}

/// Accounts have no e-mail addresses here.
fn no_email() -> S3Error {
    S3Error::with_message(
        S3ErrorCode::UnresolvableGrantByEmailAddress,
        "The e-mail address you provided does not match any account on record.",
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn account(n: u8) -> AccountId {
        AccountId::parse(&format!("{n:012}")).unwrap()
    }

    #[test]
    fn the_stored_form_is_pinned() {
        let acl = Acl::canned("public-read", &account(1), &account(1)).unwrap();
        let stored = acl.to_stored();
        assert_eq!(
            stored,
            r#"{"v":1,"owner":"000000000001","grants":[{"to":{"account":"000000000001"},"may":"FULL_CONTROL"},{"to":"all-users","may":"READ"}]}"#
        );
        assert_eq!(Acl::from_stored(&stored), Some(acl));
        assert_eq!(Acl::from_stored(&stored.replace("\"v\":1", "\"v\":9")), None);
    }

    #[test]
    fn what_canned_lists_grant() {
        let (owner, other) = (account(1), account(2));
        let grants = |name: &str, who: Option<&AccountId>, right| {
            Acl::canned(name, &owner, &owner).unwrap().grants(who, right, false)
        };
        assert!(grants("private", Some(&owner), Right::Write));
        assert!(!grants("private", Some(&other), Right::Read));
        assert!(grants("public-read", None, Right::Read));
        assert!(!grants("public-read", None, Right::Write));
        assert!(grants("public-read-write", None, Right::Write));
        assert!(grants("authenticated-read", Some(&other), Right::Read));
        assert!(!grants("authenticated-read", None, Right::Read));
        assert!(Acl::canned("public-ready", &owner, &owner).is_none());
        let theirs = Acl::canned("bucket-owner-full-control", &other, &owner).unwrap();
        assert!(theirs.grants(Some(&owner), Right::Read, false));
    }

    #[test]
    fn public_grants_can_be_ignored() {
        let acl = Acl::canned("public-read", &account(1), &account(1)).unwrap();
        assert!(acl.is_public() && !acl.grants(None, Right::Read, true));
    }

    #[test]
    fn grant_headers() {
        let headers =
            GrantHeaders { read: Some("id=\"000000000002\", id=000000000003"), ..Default::default() };
        let acl = Acl::from_headers(&account(1), &headers).unwrap().unwrap();
        assert_eq!(acl.grants.len(), 2);
        assert!(acl.grants(Some(&account(3)), Right::Read, false));
        for bad in ["id=x", "who=1", "uri=http://example.com", "emailAddress=a@b.c", ""] {
            let headers = GrantHeaders { read: Some(bad), ..Default::default() };
            assert!(Acl::from_headers(&account(1), &headers).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn stored_forms_do_not_panic(text in "\\PC{0,200}") {
            let _ = Acl::from_stored(&text);
            let headers = GrantHeaders { full_control: Some(&text), ..Default::default() };
            let _ = Acl::from_headers(&account(1), &headers);
        }
    }
}
