//! The properties of an upstream that has a name: `upstream_<name>_host` and its like.

use super::choice::UpstreamTls;
use super::preset::Preset;
use super::properties_macro::properties;
use super::secret::{self, Secret};
use super::{mail_address, name, oauth, value};
use crate::ground::endpoint::Endpoint;
use crate::ground::host::HostSpec;
use crate::ground::rate_limit::RateLimit;
use std::path::PathBuf;
use std::str::FromStr;

properties! {
    /// An upstream beside `smart_relay`, or instead of it.
    pub struct NamedUpstream {
        /// None = that of the preset.
        host: Option<HostSpec> = name::host;
        preset: Option<Preset> = Preset::from_str;
        username: Option<String> = value::text;
        password: Option<Secret> = secret::login_password;
        oauth_token_url: Option<Endpoint> = oauth::token_url;
        oauth_tenant: Option<String> = oauth::tenant;
        oauth_client_id: Option<String> = value::text;
        oauth_client_secret: Option<Secret> = secret::login_password;
        oauth_refresh_token: Option<Secret> = secret::login_password;
        oauth_scope: Option<String> = value::text;
        tls: UpstreamTls = UpstreamTls::from_str;
        ca: Option<PathBuf> = value::absolute_path;
        cert_file: Option<PathBuf> = value::absolute_path;
        key_file: Option<PathBuf> = value::absolute_path;
        connections: Option<u32> = value::count;
        rate: Option<RateLimit> = RateLimit::from_str;
        mails_per_connection: Option<u32> = value::count;
        recipient_limit: Option<u32> = value::count;
        /// In lower case: addresses, domains, `*.` and a domain. Empty = every sender.
        senders: Vec<String> = mail_address::patterns;
        /// The same of recipients.
        recipients: Vec<String> = mail_address::patterns;
        /// The lowest of a group comes first.
        priority: u32 = value::count_or_zero;
        weight: u32 = value::count;
    }
}
