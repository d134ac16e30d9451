//! PostObject: HTML forms, as far as s3s carries them. It collects the file, verifies the signature of the
//! policy, evaluates its conditions and checks that they cover every field. It reads the ACL from another
//! field than S3's, so that objects made by forms are private.

use http::{HeaderMap, HeaderName, HeaderValue};
use s3s::dto::*;
use s3s::{S3Request, S3Response, S3Result};

use crate::api::Api;
use crate::errors::not_implemented;

impl Api {
    pub(crate) async fn post_object(
        &self,
        mut request: S3Request<PostObjectInput>,
    ) -> S3Result<S3Response<PostObjectOutput>> {
        let form = &mut request.input;
        if form.key.contains("${filename}") {
            return Err(not_implemented("The variable ${filename} in the key of a form"));
        }
        // An empty file has no length in s3s.
        form.content_length = form.content_length.or(Some(0));
        // Digests and grants come as fields; what came as HTTP headers is about the form.
        request.headers = field_headers(form);
        let response = self.put_object(request.map_input(as_put)).await?;
        Ok(response.map_output(as_post))
    }
}

/// The fields that PutObject reads from headers.
fn field_headers(form: &PostObjectInput) -> HeaderMap {
    use s3s::header as name;
    let algorithm = form.checksum_algorithm.as_ref().map(|a| a.as_str().to_owned());
    let fields: [(HeaderName, Option<&String>); 11] = [
        (HeaderName::from_static("content-md5"), form.content_md5.as_ref()),
        (name::X_AMZ_SDK_CHECKSUM_ALGORITHM, algorithm.as_ref()),
        (name::X_AMZ_CHECKSUM_CRC32, form.checksum_crc32.as_ref()),
        (name::X_AMZ_CHECKSUM_CRC32C, form.checksum_crc32c.as_ref()),
        (name::X_AMZ_CHECKSUM_CRC64NVME, form.checksum_crc64nvme.as_ref()),
        (name::X_AMZ_CHECKSUM_SHA1, form.checksum_sha1.as_ref()),
        (name::X_AMZ_CHECKSUM_SHA256, form.checksum_sha256.as_ref()),
        (name::X_AMZ_GRANT_READ, form.grant_read.as_ref()),
        (name::X_AMZ_GRANT_READ_ACP, form.grant_read_acp.as_ref()),
        (name::X_AMZ_GRANT_WRITE_ACP, form.grant_write_acp.as_ref()),
        (name::X_AMZ_GRANT_FULL_CONTROL, form.grant_full_control.as_ref()),
    ];
    let present =
        fields.into_iter().filter_map(|(name, value)| Some((name, HeaderValue::from_str(value?).ok()?)));
    present.collect()
}

fn as_put(form: PostObjectInput) -> PutObjectInput {
    PutObjectInput {
        acl: form.acl,
        body: form.body,
        bucket: form.bucket,
        cache_control: form.cache_control,
        content_disposition: form.content_disposition,
        content_encoding: form.content_encoding,
        content_language: form.content_language,
        content_length: form.content_length,
        content_type: form.content_type,
        expires: form.expires,
        key: form.key,
        metadata: form.metadata,
        object_lock_legal_hold_status: form.object_lock_legal_hold_status,
        object_lock_mode: form.object_lock_mode,
        object_lock_retain_until_date: form.object_lock_retain_until_date,
        server_side_encryption: form.server_side_encryption,
        sse_customer_algorithm: form.sse_customer_algorithm,
        sse_customer_key: form.sse_customer_key,
        ssekms_key_id: form.ssekms_key_id,
        storage_class: form.storage_class,
        tagging: form.tagging,
        website_redirect_location: form.website_redirect_location,
        write_offset_bytes: form.write_offset_bytes,
        ..PutObjectInput::default()
    }
}

fn as_post(put: PutObjectOutput) -> PostObjectOutput {
    PostObjectOutput {
        checksum_crc32: put.checksum_crc32,
        checksum_crc32c: put.checksum_crc32c,
        checksum_crc64nvme: put.checksum_crc64nvme,
        checksum_sha1: put.checksum_sha1,
        checksum_sha256: put.checksum_sha256,
        checksum_type: put.checksum_type,
        e_tag: put.e_tag,
        version_id: put.version_id,
        ..PostObjectOutput::default()
    }
}
