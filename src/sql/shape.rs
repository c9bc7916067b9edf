//! How long and how deep a question may be, decided on its tokens, before a parser sees them: parsers, planners and the engine's own
//! destructors recurse, and a stack that overflows ends the process without a word.

use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

/// Most bytes of a text. A question with a thousand thumbprints in it has some 50 KiB.
pub const TEXT_MAX: usize = 65_536;
/// Deepest nesting of brackets. People stop at six or so.
const DEPTH_MAX: usize = 32;
/// Most words and operators. Each level of nesting without brackets (`NOT NOT`, `1 + 1 + 1`, `UNION`) takes at least one, and the stacks of
/// [`super::STACK_BYTES`] are for that many levels. The longest question of `docs/queries.md` has 70. Literals and commas are free, so that
/// lists may be long.
const WORDS_MAX: usize = 1_500;

/// Looks at a question's text.
pub(super) fn check(text: &str) -> Result<(), String> {
    if text.len() > TEXT_MAX {
        return Err(format!("the text has {} bytes, and may have {TEXT_MAX}", text.len()));
    }
    // The parser's own tokens, so that comments, quotes and escapes end where they end for the parser. Reading them does not recurse.
    let tokens = Tokenizer::new(&GenericDialect {}, text).tokenize().map_err(|error| error.to_string())?;
    let (mut depth, mut words) = (0_usize, 0_usize);
    for token in tokens {
        match token {
            Token::LParen | Token::LBracket | Token::LBrace => depth += 1,
            Token::RParen | Token::RBracket | Token::RBrace => depth = depth.saturating_sub(1),
            Token::Whitespace(_) | Token::Comma | Token::Number(..) | Token::SingleQuotedString(_) => {}
            _ => words += 1,
        }
        if depth > DEPTH_MAX {
            return Err(format!("brackets are nested deeper than {DEPTH_MAX}"));
        }
        if words > WORDS_MAX {
            return Err(format!("it has more than {WORDS_MAX} words and operators"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(text: &str, expect: Option<&str>) {
        let told = check(text).err();
        assert_eq!(told.is_some(), expect.is_some(), "{told:?}");
        assert!(told.clone().unwrap_or_default().contains(expect.unwrap_or_default()), "{told:?}");
    }

    #[test]
    fn long_and_deep_questions() {
        let nested = |depth: usize| format!("SELECT {}1{}", "(".repeat(depth), ")".repeat(depth));
        refused(&nested(32), None);
        refused(&nested(33), Some("deeper than 32"));
        for link in ["+1", " AND true", " NOT", "- ", "::int", ".a", " UNION SELECT 1", " \"a\"", " IS NULL"] {
            refused(&format!("SELECT 1{}", link.repeat(300)), None);
            refused(&format!("SELECT 1{}", link.repeat(1_500)), Some("more than 1500 words"));
        }
        refused(&format!("SELECT 1 IN ({}'')", "'NzbLsXh8uDCcd', 17, 'it''s', ".repeat(1_800)), None);
        refused(&format!("SELECT '{}'", "é".repeat(32_764)), Some("the text has 65537 bytes"));
        refused("SELECT 'never ends", Some("Unterminated string"));
        // Quotes that only seem to open a literal hide nothing.
        for quote in ["-- '\n", "/* ' */", "\"'\"", "E'\\'' ", "$$'$$"] {
            refused(&format!("SELECT {quote} {}", "(".repeat(33)), Some("deeper than 32"));
            refused(&format!("SELECT {quote} 1"), None);
        }
    }
}
