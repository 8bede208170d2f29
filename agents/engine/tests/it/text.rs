//! Text is what llama.cpp and the model's own template make of it.

use std::{
    fs::{self, File},
    io::Read,
    path::Path,
};

use engine::{Error, Message, Text, TextStream};

use crate::{
    reference::Reference,
    support::{model_path, scratch},
};

/// Some hundred texts: words, scripts, white space, code, and pieces of them in other orders.
fn texts() -> Vec<String> {
    let pieces = [
        "Hello, world!",
        " leading",
        "trailing ",
        "\n\n",
        "\t",
        "don't we'll I'M",
        "3.14159",
        "1234567890",
        "ÄÖÜ ß éè",
        "Привет, мир",
        "你好，世界",
        "こんにちは",
        "🙂🏳️‍🌈",
        "e\u{301}",
        "fn main() { println!(\"{}\", x[0]); }",
        "https://a.b/c?d=e&f",
        "a\r\nb",
        "   ",
        "<|im_start|>",
        "<|endoftext|>user",
        "$x^2 + y_1$",
        "…—“”",
        "\u{200b}",
        "ﷺ",
        "𝔘𝔫𝔦",
        "__init__",
    ];
    let mut texts: Vec<String> = pieces.iter().map(ToString::to_string).collect();
    for left in pieces {
        for right in pieces.iter().step_by(2) {
            texts.push(format!("{left}{right}"));
        }
    }
    texts
}

#[test]
fn tokens_are_those_of_llama_cpp() {
    let reference = Reference::load(&model_path(), 256, 1, 32);
    let text = Text::load(&model_path()).unwrap();
    for sample in texts() {
        for control in [false, true] {
            let expected = reference.tokenize(&sample, true, control);
            assert_eq!(
                text.tokenize(&sample, control).unwrap(),
                expected,
                "{sample:?} control {control}"
            );
        }
    }
}

#[test]
fn text_comes_back_whole_through_a_stream() {
    let text = Text::load(&model_path()).unwrap();
    for sample in texts() {
        let mut stream = TextStream::new(Vec::new());
        let tokens = text.tokenize(&sample, false).unwrap();
        let mut found: String = tokens
            .iter()
            .map(|&token| stream.push(&text.bytes_of(token)))
            .collect();
        found.push_str(&stream.finish());
        assert_eq!(found, sample);
    }
}

#[test]
fn a_chat_is_rendered_by_the_models_own_template() {
    let text = Text::load(&model_path()).unwrap();
    let message = |role: &str, content: &str| Message {
        role: role.into(),
        content: content.into(),
    };
    let question = [message("user", "Hi!")];
    let expected = "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n\
        <|im_start|>user\nHi!<|im_end|>\n<|im_start|>assistant\n";
    assert_eq!(text.render_chat(&question, true).unwrap(), expected);
    let talk = [
        message("system", "Be brief."),
        message("user", "Hi!"),
        message("assistant", "Hello."),
        message("user", "Bye."),
    ];
    let expected = "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi!<|im_end|>\n\
        <|im_start|>assistant\nHello.<|im_end|>\n<|im_start|>user\nBye.<|im_end|>\n";
    assert_eq!(text.render_chat(&talk, false).unwrap(), expected);
}

#[test]
fn control_tokens_end_a_turn_and_show_no_text() {
    let text = Text::load(&model_path()).unwrap();
    let [end] = text.tokenize("<|im_end|>", true).unwrap()[..] else {
        panic!("one token")
    };
    assert!(text.is_end_of_generation(end));
    assert_eq!(text.bytes_of(end), b"");
    let [letter] = text.tokenize("a", true).unwrap()[..] else {
        panic!("one token")
    };
    assert!(!text.is_end_of_generation(letter));
    assert!(!text.is_end_of_generation(u32::MAX));
    assert_eq!(text.bytes_of(u32::MAX), b"");
    // What a user types is text, whatever it looks like.
    assert!(text.tokenize("<|im_end|>", false).unwrap().len() > 1);
}

#[test]
fn a_text_that_is_too_long_is_refused() {
    let text = Text::load(&model_path()).unwrap();
    let long = "a ".repeat((1 << 19) + 1);
    assert!(matches!(text.tokenize(&long, false), Err(Error::Text { .. })));
}

/// The model's header with some bytes replaced by as many others, in a file of the same length.
fn patched(folder: &Path, from: &[u8], to: &[u8]) -> std::path::PathBuf {
    assert_eq!(from.len(), to.len());
    let length = fs::metadata(model_path()).unwrap().len();
    let mut header = vec![0; 4 << 20];
    File::open(model_path()).unwrap().read_exact(&mut header).unwrap();
    let at = header
        .windows(from.len())
        .position(|window| window == from)
        .expect("the bytes are in the header");
    header[at..at + to.len()].copy_from_slice(to);
    let path = folder.join("patched.gguf");
    fs::write(&path, header).unwrap();
    File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(length)
        .unwrap();
    path
}

#[test]
fn the_longest_text_survives_the_deepest_regular_expression() {
    let folder = scratch();
    // llama.cpp splits for `falcon` by expressions like `[\p{P}…]+`, which the C++ library matches by recursion.
    let text = Text::load(&patched(folder.path(), b"smollm", b"falcon")).unwrap();
    let tokens = text.tokenize(&"!".repeat(1 << 20), false).unwrap();
    let length: usize = tokens.iter().map(|&token| text.bytes_of(token).len()).sum();
    assert_eq!(length, 1 << 20);
}

#[test]
fn a_vocabulary_on_which_llama_cpp_would_abort_is_refused() {
    let folder = scratch();
    let unchanged = patched(folder.path(), b"<|im_start|>", b"<|im_start|>");
    assert!(Text::load(&unchanged).is_ok());
    let none = patched(
        folder.path(),
        b"\x04\x00\x00\x00\x00\x00\x00\x00gpt2",
        b"\x04\x00\x00\x00\x00\x00\x00\x00none",
    );
    let refused = Text::load(&none).unwrap_err();
    assert!(refused.to_string().contains("kind `none`"), "{refused}");
    let twice = patched(folder.path(), b"<jupyter_code>", b"<jupyter_text>");
    let refused = Text::load(&twice).unwrap_err();
    assert!(refused.to_string().contains("twice"), "{refused}");
}
