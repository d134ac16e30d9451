//! Answers of the AWS query protocols: a little XML, written by hand.

use http::{HeaderValue, Response, StatusCode, header};

use crate::body::Body;

/// Text with XML's special characters replaced, and characters that XML 1.0 cannot hold as U+FFFD.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\t' | '\n' | '\r' => escaped.push(c),
            c if c < ' ' || matches!(c, '\u{fffe}' | '\u{ffff}') => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

/// An answer with an XML document.
pub(crate) fn answer(status: StatusCode, document: String) -> Response<Body> {
    let mut response = Response::new(Body::whole(document));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/xml;charset=UTF-8"));
    response
}

/// An error of the query protocol (STS, and most services older than 2012).
pub(crate) fn query_error(status: StatusCode, code: &str, message: &str, id: &str) -> Response<Body> {
    let kind = if status.is_server_error() { "Receiver" } else { "Sender" };
    let document = format!(
        "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\n  <Error>\n    \
         <Type>{kind}</Type>\n    <Code>{}</Code>\n    <Message>{}</Message>\n  </Error>\n  \
         <RequestId>{id}</RequestId>\n</ErrorResponse>\n",
        escape(code),
        escape(message)
    );
    answer(status, document)
}

/// An error of EC2's variant of the query protocol.
pub(crate) fn ec2_error(status: StatusCode, code: &str, message: &str, id: &str) -> Response<Body> {
    let document = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response><Errors><Error><Code>{}</Code><Message>{}</Message>\
         </Error></Errors><RequestID>{id}</RequestID></Response>",
        escape(code),
        escape(message)
    );
    answer(status, document)
}

/// An error of the REST-JSON protocol (EBS direct APIs, and whatever service we do not know).
pub(crate) fn json_error(status: StatusCode, code: &str, message: &str) -> Response<Body> {
    let document = serde_json::json!({ "__type": code, "message": message, "Message": message });
    let mut response = Response::new(Body::whole(document.to_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-amz-json-1.1"));
    if let Ok(code) = HeaderValue::from_str(code) {
        headers.insert("x-amzn-errortype", code);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_sent_cannot_break_out_of_the_document() {
        assert_eq!(escape("a<b>&\"\u{1}"), "a&lt;b&gt;&amp;&quot;\u{fffd}");
    }
}
