//! Forms that no client would send: each is answered by a document, whatever it holds.

use proptest::collection::vec;
use proptest::prelude::*;

use crate::every_action::{ACTIONS, Client, element};

/// Names of parameters, real ones among them, and values of all kinds.
fn parameter() -> impl Strategy<Value = String> {
    let name = "(VolumeId|InstanceId|ResourceId|Filter|Tag|TagSpecification|MaxResults|NextToken|Size|Iops|Device\
                |Attribute|Name|Value|Key|DryRun|ClientToken|[A-Za-z]{1,8})(\\.[0-9]{1,2})?(\\.(Name|Value|Key|Tag))?\
                (\\.[0-9]{1,2})?";
    let value = prop_oneof![
        Just("V".to_owned()),
        Just("I".to_owned()),
        Just("true".to_owned()),
        Just("tag-key".to_owned()),
        "-?[0-9]{1,20}",
        "[ -~]{0,12}",
        ".{0,8}",
    ];
    (name, value).prop_map(|(name, value)| {
        let value = match value.as_str() {
            "V" | "I" => value,
            _ => {
                percent_encoding::utf8_percent_encode(&value, percent_encoding::NON_ALPHANUMERIC).to_string()
            }
        };
        format!("{name}={value}")
    })
}

proptest! {
    #[test]
    fn every_form_is_answered(
        (action, parameters, _) in prop::sample::select(ACTIONS),
        whole in any::<bool>(),
        more in vec(parameter(), 0..6),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let own = if whole { parameters } else { "" };
        let (status, xml) = runtime.block_on(async {
            let client = Client::new().await;
            client.call(action, &format!("{own}&{}", more.join("&"))).await
        });
        prop_assert!(xml.starts_with("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<"), "{xml}");
        prop_assert!(status < 500, "{xml}");
        prop_assert_eq!(status == 200, element(&xml, "Code").is_empty(), "{}", xml);
    }
}
