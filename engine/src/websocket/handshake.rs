//! The opening handshake (RFC 6455 section 4): what a client asks, how a server answers, and how either judges the
//! other. Heads are read by `httparse`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use httparse::{EMPTY_HEADER, Header, Request, Response, Status};
use sha1_smol::Sha1;
use std::fmt::Write as _;

/// A head of a request or an answer has at most so many bytes ...
pub const HEAD_MAX_BYTES: usize = 8 * 1024;
/// ... and so many fields.
const FIELDS_MAX: usize = 64;

/// A subprotocol with a longer name is not chosen: an answer does not grow with what is asked.
const SUBPROTOCOL_MAX_BYTES: usize = 256;

/// Bytes of a `Sec-WebSocket-Key`: 16 bytes in base64.
pub const KEY_BYTES: usize = 24;
/// Bytes of a `Sec-WebSocket-Accept`: a SHA-1 digest in base64.
const ACCEPT_BYTES: usize = 28;
/// Section 1.3.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// What a client asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opening {
    /// The field `Host`.
    pub host: String,
    /// Path and query, beginning with `/`.
    pub path: String,
    /// The field `Origin`.
    pub origin: Option<String>,
    /// Subprotocols that it speaks, best first.
    pub subprotocols: Vec<String>,
    /// Further fields, as they are sent.
    pub fields: Vec<(String, String)>,
}

impl Opening {
    /// The request up to the value of its key. That and [`AFTER_KEY`] follow.
    pub fn head(&self) -> String {
        let mut head = format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\n",
            self.path, self.host
        );
        let mut field = |name: &str, value: &str| {
            let _ = write!(head, "{name}: {value}\r\n");
        };
        if let Some(origin) = &self.origin {
            field("Origin", origin);
        }
        if !self.subprotocols.is_empty() {
            field("Sec-WebSocket-Protocol", &self.subprotocols.join(", "));
        }
        for (name, value) in &self.fields {
            field(name, value);
        }
        head + "Sec-WebSocket-Key: "
    }
}

/// What ends a request behind its key.
pub const AFTER_KEY: &[u8] = b"\r\n\r\n";

/// The key that is made of 16 bytes, which should be new for each connection.
pub fn key_of(nonce: [u8; 16]) -> [u8; KEY_BYTES] {
    let mut key = [0; KEY_BYTES];
    let written = BASE64.encode_slice(nonce, &mut key);
    debug_assert_eq!(written, Ok(KEY_BYTES), "16 bytes are 24 characters");
    key
}

/// What a server answers to a key (section 4.2.2).
pub fn accept_of(key: &[u8]) -> [u8; ACCEPT_BYTES] {
    let mut hash = Sha1::new();
    hash.update(key);
    hash.update(GUID);
    let mut accept = [0; ACCEPT_BYTES];
    let written = BASE64.encode_slice(hash.digest().bytes(), &mut accept);
    debug_assert_eq!(written, Ok(ACCEPT_BYTES), "20 bytes are 28 characters");
    accept
}

// ---- the client judges ---------------------------------------------------------------------

/// Reads the answer to a request with this key: the length of its head, or `None` if that is not complete.
///
/// # Errors
/// Why it is no WebSocket connection, in words.
pub fn judge_answer(
    bytes: &[u8],
    key: &[u8; KEY_BYTES],
    opening: &Opening,
) -> Result<Option<usize>, String> {
    let mut fields = [EMPTY_HEADER; FIELDS_MAX];
    let mut answer = Response::new(&mut fields);
    let length = match answer.parse(bytes) {
        Ok(Status::Complete(length)) if length <= HEAD_MAX_BYTES => length,
        Ok(status) if status.is_complete() || bytes.len() >= HEAD_MAX_BYTES => {
            return Err(format!(
                "the head of the peer's answer has more than {HEAD_MAX_BYTES} bytes"
            ));
        }
        Ok(_) => return Ok(None),
        Err(error) => {
            return Err(format!(
                "the peer's answer is not HTTP ({error}); is it a WebSocket server?"
            ));
        }
    };
    if answer.code != Some(101) {
        return Err(format!(
            "the peer answered '{} {}' and not 101; is it a WebSocket server, and is the path right?",
            answer.code.unwrap_or_default(),
            answer.reason.unwrap_or_default()
        ));
    }
    let is_upgrade = has_token(answer.headers, "upgrade", "websocket")
        && has_token(answer.headers, "connection", "upgrade");
    if !is_upgrade {
        return Err("the peer answered 101 and upgrades to something else".to_owned());
    }
    let accept = value(answer.headers, "sec-websocket-accept");
    if accept.map(str::as_bytes) != Some(&accept_of(key)[..]) {
        return Err("the peer's Sec-WebSocket-Accept does not answer our key".to_owned());
    }
    if value(answer.headers, "sec-websocket-extensions").is_some_and(|value| !value.is_empty()) {
        return Err("the peer chose an extension, and none was offered".to_owned());
    }
    match value(answer.headers, "sec-websocket-protocol") {
        Some(chosen) if !opening.subprotocols.iter().any(|asked| asked == chosen) => {
            Err("the peer chose a subprotocol that was not asked for; see --subprotocol".to_owned())
        }
        _ => Ok(Some(length)),
    }
}

// ---- the server judges ---------------------------------------------------------------------

/// How a server answers the head of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Bytes of the request's head.
    pub head_bytes: usize,
    /// What it says.
    pub text: String,
    /// Whether the connection is a WebSocket now; if not, it is closed.
    pub accepts: bool,
}

/// Judges a request; `None` if its head is not complete.
pub fn judge_request(bytes: &[u8]) -> Option<Reply> {
    let mut fields = [EMPTY_HEADER; FIELDS_MAX];
    let mut request = Request::new(&mut fields);
    let judged = match request.parse(bytes) {
        Ok(Status::Complete(length)) if length <= HEAD_MAX_BYTES => {
            accept(&request).map(|text| (length, text))
        }
        Ok(Status::Partial) if bytes.len() < HEAD_MAX_BYTES => return None,
        Ok(_) => Err(refusal("431 Request Header Fields Too Large", "", "")),
        Err(error) => Err(refusal("400 Bad Request", "", &error.to_string())),
    };
    Some(match judged {
        Ok((head_bytes, text)) => Reply {
            head_bytes,
            text,
            accepts: true,
        },
        Err(text) => Reply {
            head_bytes: bytes.len(),
            text,
            accepts: false,
        },
    })
}

/// The answer to a request that did not come in time.
pub fn too_late() -> String {
    refusal("408 Request Timeout", "", "")
}

/// The answer that makes it a WebSocket (section 4.2.2), or one that refuses it (section 4.2.1).
fn accept(request: &Request) -> Result<String, String> {
    let fields = &*request.headers;
    let bad = |why: &str| refusal("400 Bad Request", "", why);
    if request.method != Some("GET") {
        return Err(refusal("405 Method Not Allowed", "Allow: GET\r\n", ""));
    }
    if request.version != Some(1) || value(fields, "host").is_none() {
        return Err(bad("an upgrade needs HTTP/1.1 and a Host"));
    }
    let asks =
        has_token(fields, "upgrade", "websocket") && has_token(fields, "connection", "upgrade");
    if !asks {
        let upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\n";
        let why = "this is a WebSocket server";
        return Err(refusal("426 Upgrade Required", upgrade, why));
    }
    if value(fields, "sec-websocket-version") != Some("13") {
        let version = "Sec-WebSocket-Version: 13\r\n";
        return Err(refusal("426 Upgrade Required", version, ""));
    }
    let key = value(fields, "sec-websocket-key").unwrap_or_default();
    if BASE64.decode(key).map_or(0, |nonce| nonce.len()) != 16 {
        return Err(bad("Sec-WebSocket-Key is not 16 bytes in base64"));
    }
    let accept = accept_of(key.as_bytes());
    let mut text = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\n",
        String::from_utf8_lossy(&accept)
    );
    // An echo speaks whatever it is asked to.
    let protocol = tokens(fields, "sec-websocket-protocol").next();
    if let Some(first) = protocol.filter(|name| name.len() <= SUBPROTOCOL_MAX_BYTES) {
        let _ = write!(text, "Sec-WebSocket-Protocol: {first}\r\n");
    }
    Ok(text + "\r\n")
}

fn refusal(status: &str, fields: &str, why: &str) -> String {
    let body = if why.is_empty() { status } else { why };
    format!(
        "HTTP/1.1 {status}\r\n{fields}Content-Type: text/plain\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}\n",
        body.len() + 1
    )
}

// ---- fields --------------------------------------------------------------------------------

/// The value of a field, the first if there are several; `None` too if it is not text.
fn value<'a>(fields: &[Header<'a>], name: &str) -> Option<&'a str> {
    let field = fields
        .iter()
        .find(|field| field.name.eq_ignore_ascii_case(name))?;
    std::str::from_utf8(field.value).ok().map(str::trim)
}

/// The elements of a field that is a list, over all its lines (RFC 9110 section 5.6.1).
fn tokens<'a>(fields: &[Header<'a>], name: &'a str) -> impl Iterator<Item = &'a str> {
    let lines = fields
        .iter()
        .filter(move |field| field.name.eq_ignore_ascii_case(name));
    let values: Vec<&str> = lines
        .filter_map(|field| std::str::from_utf8(field.value).ok())
        .collect();
    let elements = values.into_iter().flat_map(|value| value.split(','));
    elements
        .map(str::trim)
        .filter(|element| !element.is_empty())
}

fn has_token(fields: &[Header], name: &str, token: &str) -> bool {
    tokens(fields, name).any(|element| element.eq_ignore_ascii_case(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &[u8; KEY_BYTES] = b"dGhlIHNhbXBsZSBub25jZQ==";
    const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

    fn opening() -> Opening {
        Opening {
            host: "example.com".into(),
            path: "/chat?a=b".into(),
            origin: Some("http://example.com".into()),
            subprotocols: vec!["chat".into(), "superchat".into()],
            fields: vec![("X-Test".into(), "1".into())],
        }
    }

    fn request() -> Vec<u8> {
        let mut request = opening().head().into_bytes();
        request.extend_from_slice(KEY);
        request.extend_from_slice(AFTER_KEY);
        request
    }

    #[test]
    fn the_key_of_the_rfc_has_the_answer_of_the_rfc() {
        assert_eq!(&key_of(*b"the sample nonce"), KEY);
        assert_eq!(accept_of(KEY), ACCEPT.as_bytes());
    }

    #[test]
    fn both_sides_agree_whatever_comes_behind() {
        let request = request();
        let text = String::from_utf8(request.clone()).unwrap();
        assert!(text.starts_with("GET /chat?a=b HTTP/1.1\r\nHost: example.com\r\n"));
        assert!(text.contains("\r\nOrigin: http://example.com\r\n"));
        assert!(text.contains("\r\nSec-WebSocket-Protocol: chat, superchat\r\nX-Test: 1\r\n"));
        for cut in 0..request.len() {
            assert_eq!(judge_request(&request[..cut]), None, "{cut} bytes");
        }
        let mut more = request.clone();
        more.extend_from_slice(b"\x81\x80");
        let reply = judge_request(&more).unwrap();
        assert!(reply.accepts);
        assert_eq!(reply.head_bytes, request.len());
        let mut answer = reply.text.into_bytes();
        for cut in 0..answer.len() {
            assert_eq!(judge_answer(&answer[..cut], KEY, &opening()), Ok(None));
        }
        let length = answer.len();
        answer.extend_from_slice(b"\x82\x00");
        assert_eq!(judge_answer(&answer, KEY, &opening()), Ok(Some(length)));
        let another = key_of([0; 16]);
        assert!(judge_answer(&answer, &another, &opening()).is_err());
    }

    #[test]
    fn what_is_no_upgrade_is_refused_with_its_reason() {
        let with = |from: &str, to: &str| {
            let text = String::from_utf8(request()).unwrap();
            assert!(text.contains(from), "{from}");
            let reply = judge_request(text.replace(from, to).as_bytes()).unwrap();
            assert!(!reply.accepts, "{from} -> {to}");
            reply.text.split("\r\n").next().unwrap().to_owned()
        };
        assert_eq!(with("GET", "POST"), "HTTP/1.1 405 Method Not Allowed");
        assert_eq!(with("HTTP/1.1", "HTTP/1.0"), "HTTP/1.1 400 Bad Request");
        assert_eq!(with("Host: ", "Hos: "), "HTTP/1.1 400 Bad Request");
        assert_eq!(
            with("Upgrade: websocket", "Upgrade: h2c"),
            "HTTP/1.1 426 Upgrade Required"
        );
        assert_eq!(
            with("Connection: Upgrade", "Connection: close"),
            "HTTP/1.1 426 Upgrade Required"
        );
        assert_eq!(
            with("Version: 13", "Version: 8"),
            "HTTP/1.1 426 Upgrade Required"
        );
        assert_eq!(
            with("dGhlIHNhbXBsZSBub25jZQ==", "short"),
            "HTTP/1.1 400 Bad Request"
        );
        assert_eq!(with("X-Test: 1", "X-Test 1"), "HTTP/1.1 400 Bad Request");
        let long = [
            b"GET / HTTP/1.1\r\nX: ".to_vec(),
            vec![b'a'; HEAD_MAX_BYTES],
        ]
        .concat();
        let whole = [&long[..], b"\r\n\r\n"].concat();
        for head in [long, whole] {
            let refused = judge_request(&head).unwrap();
            assert!(refused.text.starts_with("HTTP/1.1 431 "));
        }
        let text = String::from_utf8(request()).unwrap();
        let asked = format!("Protocol: {}", "x".repeat(7_000));
        let text = text.replace("Protocol: chat, superchat", &asked);
        let reply = judge_request(text.as_bytes()).unwrap();
        assert!(reply.accepts && reply.text.len() < 1_000, "and not chosen");
    }

    #[test]
    fn tokens_are_found_in_lists_over_several_lines_in_any_case() {
        let text = String::from_utf8(request()).unwrap();
        let text = text
            .replace(
                "Connection: Upgrade",
                "connection: keep-alive\r\nConnection: x, upGrade",
            )
            .replace("Upgrade: websocket", "UPGRADE: WebSocket");
        assert!(judge_request(text.as_bytes()).unwrap().accepts);
    }

    #[test]
    fn what_is_no_websocket_is_told_in_words() {
        let answer = |text: &str| judge_answer(text.as_bytes(), KEY, &opening()).unwrap_err();
        let good = String::from_utf8(request()).unwrap();
        let good = judge_request(good.as_bytes()).unwrap().text;
        assert!(answer("HTTP/1.1 404 Not Found\r\n\r\n").contains("'404 Not Found'"));
        assert!(answer("SSH-2.0-OpenSSH\r\n").contains("not HTTP"));
        assert!(answer(&good.replace("websocket", "h2c")).contains("something else"));
        assert!(answer(&good.replace(ACCEPT, "wrong")).contains("does not answer"));
        let extended = good.replace(
            "\r\n\r\n",
            "\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n",
        );
        assert!(answer(&extended).contains("extension"));
        assert!(answer(&good.replace("Protocol: chat", "Protocol: mqtt")).contains("subprotocol"));
        assert!(
            answer(&format!("HTTP/1.1 101 {}", "x".repeat(HEAD_MAX_BYTES))).contains("more than")
        );
    }
}
