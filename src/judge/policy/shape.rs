//! How deep and how long a policy may be, decided on its text, before Cedar sees it.
//!
//! Cedar 4.14 was given policies that were too deep for it: brackets nested some hundred times overflow the stack of its parser, which
//! ends the process, and beyond some six hundred chained operators its validator gives up *and calls the policy valid*, whatever is in
//! it. Both happen far above what a person writes or reads.

/// Deepest nesting of brackets. The parser overflowed a stack of 2 MiB between 100 and 200.
const DEPTH_MAX: usize = 32;
/// Most operators and attribute accesses of one policy. The validator gave up between 400 and 600 on a stack of 2 MiB.
const OPERATORS_MAX: usize = 200;

/// Where a text breaks a limit, and which.
pub(super) type Refused = (usize, String);

/// Looks at every policy of a text.
pub(super) fn check(text: &str) -> Result<(), Refused> {
    let (mut depth, mut operators) = (0_usize, 0_usize);
    for (at, token) in (Tokens { text, at: 0 }) {
        match token {
            Token::Open => depth += 1,
            Token::Close => depth = depth.saturating_sub(1),
            Token::Operator => operators += 1,
            Token::End if depth == 0 => operators = 0,
            Token::End => {}
        }
        if depth > DEPTH_MAX {
            return Err((at, format!("brackets nested deeper than {DEPTH_MAX}; split the policy")));
        }
        if operators > OPERATORS_MAX {
            return Err((at, format!("a policy with more than {OPERATORS_MAX} operators and attribute accesses; split it")));
        }
    }
    Ok(())
}

enum Token {
    Open,
    Close,
    Operator,
    End,
}

/// The tokens that matter, outside of strings and comments.
struct Tokens<'a> {
    text: &'a str,
    at: usize,
}

impl Iterator for Tokens<'_> {
    type Item = (usize, Token);

    fn next(&mut self) -> Option<Self::Item> {
        const OPERATORS: &str = ".&|+-*<>=!";
        loop {
            let rest = self.text.get(self.at..)?;
            let first = rest.chars().next()?;
            let start = self.at;
            let run = |wanted: &dyn Fn(char) -> bool| rest.find(|c: char| !wanted(c)).unwrap_or(rest.len());
            let (length, token) = match first {
                '(' | '[' | '{' => (1, Some(Token::Open)),
                ')' | ']' | '}' => (1, Some(Token::Close)),
                ';' => (1, Some(Token::End)),
                '"' => (string_length(rest), None),
                '/' if rest.starts_with("//") => (rest.find('\n').unwrap_or(rest.len()), None),
                c if OPERATORS.contains(c) => (run(&|c| OPERATORS.contains(c)), Some(Token::Operator)),
                c if c.is_alphanumeric() || c == '_' => {
                    let length = run(&|c| c.is_alphanumeric() || c == '_');
                    let word = rest.get(..length).unwrap_or_default();
                    (length, ["if", "has", "like", "in", "is"].contains(&word).then_some(Token::Operator))
                }
                c => (c.len_utf8(), None),
            };
            self.at += length;
            if let Some(token) = token {
                return Some((start, token));
            }
        }
    }
}

/// How long a string literal is, its quotes included; to the end when it does not end.
fn string_length(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(text: &str, expect: Option<&str>) {
        let told = check(text).err().map(|(_, rule)| rule);
        assert_eq!(told.is_some(), expect.is_some(), "{told:?}");
        assert!(told.unwrap_or_default().contains(expect.unwrap_or_default()));
    }

    #[test]
    fn deep_and_long_policies() {
        let nested = |depth: usize| format!("{}1{}", "([{".repeat(depth), "}])".repeat(depth));
        refused(&nested(10), None);
        refused(&nested(11), Some("deeper than 32"));
        for link in ["&&true", "||true", ".a", "+1", " if true then 1 else", "!(x)", " has x", "[0].x", " in y"] {
            refused(&format!("true{};", link.repeat(100)), None);
            refused(&format!("true{};", link.repeat(201)), Some("more than 200"));
        }
        // Each policy counts by itself; strings and comments do not count.
        refused(&format!("a{};", ".a".repeat(150)).repeat(10), None);
        refused(&format!("\"{}\\\"{}\"", "(".repeat(100), ".".repeat(500)), None);
        refused(&format!("// {}\n", "((((.....".repeat(100)), None);
        refused(&format!("[{}]", "\"x\",".repeat(5000)), None);
        refused("\"never ends", None);
        refused("é∀(\"é\")", None);
    }
}
