//! The description of the native API.

use utoipa::OpenApi;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};

use super::{
    accounts, buckets, completions, drives, instances, keys, policies, queues, servers, snapshots, store,
    system, tokens, users, volumes, webhooks, workflows,
};
use crate::problem::Problem;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Terrane",
        description = "The native API of a Terrane installation. Requests are signed with AWS Signature Version 4 \
                       for service `terrane`, or carry a bearer token. Errors are problem documents (RFC 9457). \
                       Every answer has a request ID in `x-amz-request-id`.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    paths(
        system::health, system::metrics, system::openapi, system::status, system::metrics_history,
        accounts::whoami, accounts::list, accounts::create, accounts::show, accounts::change, accounts::delete,
        users::list, users::create, users::show, users::change, users::delete,
        keys::list, keys::create, keys::change, keys::delete, keys::rotate,
        tokens::list, tokens::create, tokens::delete,
        policies::validate, policies::why, policies::list, policies::show, policies::put, policies::delete,
        buckets::list, buckets::create, buckets::show, buckets::change, buckets::delete,
        webhooks::show, webhooks::put, webhooks::delete,
        queues::list, queues::pause, queues::resume, queues::drain,
        completions::operation, completions::completions,
        drives::list, drives::scrub, drives::replace,
        store::list, store::create,
        volumes::list, volumes::create, volumes::show, volumes::modify, volumes::delete, volumes::attach,
        volumes::detach, volumes::declare_lost, volumes::latest_modifications, volumes::modifications,
        volumes::cancel,
        workflows::list, workflows::show, workflows::pause, workflows::resume, workflows::cancel,
        snapshots::list, snapshots::show, snapshots::change, snapshots::delete, snapshots::copy,
        snapshots::restore,
        servers::list, servers::show, servers::drain, servers::undrain, servers::rebuild,
        instances::list,
    ),
    components(schemas(Problem)),
    security(("signature" = []), ("token" = [])),
    modifiers(&Security, &OperationIds),
)]
struct Document;

struct Security;

impl utoipa::Modify for Security {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_default();
        let signature = ApiKeyValue::with_description(
            "Authorization",
            "AWS Signature Version 4 (`AWS4-HMAC-SHA256 …`) for service `terrane`, any region",
        );
        let token = HttpBuilder::new().scheme(HttpAuthScheme::Bearer);
        components.add_security_scheme("signature", SecurityScheme::ApiKey(ApiKey::Header(signature)));
        components.add_security_scheme("token", SecurityScheme::Http(token.build()));
    }
}

/// Names operations by tag and handler, such as `queues_pause`: handlers of different things share names.
struct OperationIds;

impl utoipa::Modify for OperationIds {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        for item in document.paths.paths.values_mut() {
            let operations =
                [&mut item.get, &mut item.put, &mut item.post, &mut item.patch, &mut item.delete];
            for operation in operations.into_iter().flatten() {
                let tag = operation.tags.as_ref().and_then(|tags| tags.first());
                operation.operation_id =
                    tag.zip(operation.operation_id.as_ref()).map(|(tag, id)| format!("{tag}_{id}"));
            }
        }
    }
}

/// The OpenAPI 3.1 document of the native API, as it is checked in as `openapi/terrane.json`.
pub fn document() -> String {
    let mut text = Document::openapi().to_pretty_json().expect("a description is JSON");
    text.push('\n');
    text
}
