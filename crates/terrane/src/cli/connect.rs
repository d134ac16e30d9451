//! Finding the API and the key to it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use terrane_auth::Secret;
use terrane_auth::sigv4::Signer;
use terrane_types::{AccessKeyId, Region};

use super::client::{Client, Identity};
use super::credentials::{Profile, aws_file, profile};

/// Where the API is and who asks.
#[derive(Clone, Debug, Args)]
pub(crate) struct Connect {
    /// Data directory of `terrane up`: where it keeps everything, and where clients on the same machine find
    /// address and key [default: terrane-data].
    #[arg(long, global = true, value_name = "DIR", env = "TERRANE_DATA_DIR")]
    data_dir: Option<PathBuf>,
    /// URL of the API; the key then comes from the environment or a profile, as with other AWS tools, or from
    /// --data-dir.
    #[arg(long, global = true, value_name = "URL")]
    endpoint: Option<String>,
    /// Profile of the AWS credentials and configuration files.
    #[arg(long, global = true, value_name = "NAME", env = "AWS_PROFILE")]
    profile: Option<String>,
    /// Region to sign for [default: us-east-1].
    #[arg(long, global = true, value_name = "NAME")]
    region: Option<String>,
    /// PEM file with certificates to trust besides the system's, for HTTPS.
    #[arg(long, global = true, value_name = "FILE", env = "AWS_CA_BUNDLE")]
    ca_cert: Option<PathBuf>,
}

const DEFAULT_DIR: &str = "terrane-data";

impl Connect {
    /// The data directory that was named, or the default one.
    pub(crate) fn data_dir_or_default(&self) -> PathBuf {
        self.data_dir.clone().unwrap_or_else(|| DEFAULT_DIR.into())
    }

    /// A client of the API. In this order: `--endpoint`; `--data-dir`; `AWS_ENDPOINT_URL` or a profile that names
    /// an endpoint; the default data directory.
    pub(crate) fn client(&self) -> anyhow::Result<Client> {
        let profile = self.aws_profile()?;
        let from_environment =
            || variable("AWS_ENDPOINT_URL").or_else(|| profile.get("endpoint_url").cloned());
        let (endpoint, dir) = match (&self.endpoint, &self.data_dir) {
            (Some(endpoint), dir) => (endpoint.clone(), dir.clone()),
            (None, Some(dir)) => (read_endpoint(dir)?, Some(dir.clone())),
            (None, None) => match from_environment() {
                Some(endpoint) => (endpoint, None),
                None if Path::new(DEFAULT_DIR).exists() => {
                    (read_endpoint(Path::new(DEFAULT_DIR))?, Some(DEFAULT_DIR.into()))
                }
                None => bail!(
                    "no server was named: use --data-dir DIR (of `terrane up`), --endpoint URL, or set \
                     AWS_ENDPOINT_URL"
                ),
            },
        };
        let identity = self.identity(&profile, dir.as_deref())?;
        Client::new(&endpoint, identity, self.ca_cert.as_deref())
    }

    fn identity(&self, profile: &Profile, dir: Option<&Path>) -> anyhow::Result<Identity> {
        if let (None, Some(token)) = (dir, variable("TERRANE_TOKEN")) {
            return Ok(Identity::Token(Secret::new(token)));
        }
        let keys = match dir {
            Some(dir) => read_credentials(dir)?,
            None => environment_keys().unwrap_or_else(|| profile.clone()),
        };
        let (Some(id), Some(secret)) = (keys.get("aws_access_key_id"), keys.get("aws_secret_access_key"))
        else {
            bail!(
                "no key: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, name a --profile that has them, set \
                 TERRANE_TOKEN, or use --data-dir"
            );
        };
        let region = self
            .region
            .clone()
            .or_else(|| variable("AWS_REGION"))
            .or_else(|| variable("AWS_DEFAULT_REGION"))
            .or_else(|| profile.get("region").cloned())
            .map_or(Ok(Region::us_east_1()), |region| Region::parse(&region))?;
        let id = AccessKeyId::parse(id)?;
        Ok(Identity::Key(Signer::new(id, Secret::new(secret.clone()), region, "terrane")))
    }

    /// The settings of the profile in both files of AWS tools; empty if there are none.
    fn aws_profile(&self) -> anyhow::Result<Profile> {
        let name = self.profile.as_deref().unwrap_or("default");
        let mut settings = Profile::new();
        let mut found = false;
        for (variable, file) in
            [("AWS_CONFIG_FILE", "config"), ("AWS_SHARED_CREDENTIALS_FILE", "credentials")]
        {
            let text = aws_file(variable, file).and_then(|path| fs::read_to_string(path).ok());
            if let Some(part) = text.and_then(|text| profile(&text, name)) {
                found = true;
                settings.extend(part);
            }
        }
        if let (Some(name), false) = (&self.profile, found) {
            bail!("no profile {name:?} in the AWS configuration and credentials files");
        }
        Ok(settings)
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn environment_keys() -> Option<Profile> {
    let id = variable("AWS_ACCESS_KEY_ID")?;
    let secret = variable("AWS_SECRET_ACCESS_KEY")?;
    Some([("aws_access_key_id".to_owned(), id), ("aws_secret_access_key".to_owned(), secret)].into())
}

fn read_endpoint(dir: &Path) -> anyhow::Result<String> {
    let path = dir.join("run").join("endpoints.json");
    let text = fs::read_to_string(&path)
        .with_context(|| format!("{} cannot be read: does `terrane up` run there?", path.display()))?;
    let endpoints: serde_json::Value =
        serde_json::from_str(&text).with_context(|| format!("{} is not JSON", path.display()))?;
    let api = endpoints.get("api").and_then(|api| api.as_str());
    api.map(ToOwned::to_owned).with_context(|| format!("{} names no api", path.display()))
}

fn read_credentials(dir: &Path) -> anyhow::Result<Profile> {
    let path = dir.join("run").join("credentials");
    let text = fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))?;
    profile(&text, "default").with_context(|| format!("{} has no profile default", path.display()))
}
