"""Golden vectors of the tokenizer tests, from the reference implementations (Rust `tokenizers`, C++ `sentencepiece`, Python `jinja2`).

    pip install tokenizers==0.23.3 sentencepiece==0.2.3 jinja2 gguf
    python make.py ../../../../shared/reference/prose.txt SmolLM2-135M-Instruct.Q4_1.gguf

Writes bpe.json (a small byte-level vocabulary under each word rule), spm.json (small SentencePiece vocabularies), chat.json (templates of several
styles), smollm2.json (the real tokenizer; the test reads its tokens from the model). Not run by the tests. `prose` is any English text; other texts
would train other vocabularies, and the vectors hold all that the tests need.
"""
import json, os, sys, tempfile
import gguf, sentencepiece
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

here = os.path.dirname(os.path.abspath(__file__))
prose = open(sys.argv[1], encoding='utf-8').read()

foreign = ('Ein schöner Tag für Übungen. Où est la bibliothèque? Привет, как дела? 你好，世界！今天天气很好。 こんにちは世界。 안녕하세요 세계. שלום עולם مرحبا بالعالم '
           'नमस्ते दुनिया สวัสดีชาวโลก ') * 3
texts = [
    'Hello, world!', ' leading space', 'trailing space ', 'a', ' ', '  ', '   x', '\n', '\n\n\n', 'a\nb', 'a \n b', 'tab\tand\ttabs\t\t', '\r\n windows \r\n\r\nlines\r\n',
    "I'm sure they'll say it's what we've done; don't, you're, he'd, I'M, THEY'LL, IT'S", "'s't're've'm'll'd 'S'T", '1', '12', '123', '1234', '12345', '3.14159 and 1,000,000', 'x1y22z333', '½ ⅓ ² ٣٤٥ १२३ Ⅷ 一二三',
    'CamelCaseWORDSandXMLHttpRequest', 'snake_case_name __init__(self, x=[1,2], **kw): # comment', 'for (let i = 0; i < n; i++) { a[i] += `${b}`; }', '<|im_start|>user', '<|im_end|>', '</s><s>[INST] x [/INST]', '<start_of_turn>model',
    'https://example.com/path?query=1&other=%20#frag', 'email@example.org', '$100 +50% ~tilde ^caret |pipe| <tag> =equals=', '...!!!???', '—–‘’“”…', '!"#$%&\'()*+,-./:;<=>?@[\\]^_`{|}~',
    '😀', '👩‍👩‍👧‍👦 family', '🏳️‍🌈🇫🇷', 'e\u0301 é', 'a\u0300\u0301\u0302\u0303', '\u200d\u200c\u200b', '\u00a0nbsp\u00a0', 'a\u0085b\u2028c\u2029d', '\ufeffBOM', 'x\ufeffy', '\u3000wide', '\u1680\u2000\u2009\u202f\u205f ',
    'null\x00byte \x01\x02\x7f', '\ufffd', '\U0010ffff', '𝔘𝔫𝔦𝔠𝔬𝔡𝔢', 'ＦＵＬＬ　ｗｉｄｔｈ１２３', '你好，世界！', '今天2024年5月1日', 'こんにちは、カタカナ、漢字。', '안녕하세요 세계', 'שלום עולם', 'مرحبا بالعالم ١٢٣', 'नमस्ते दुनिया', 'สวัสดีชาวโลก',
    'ﬁ ligature ǅ ʰ ª', 'Ångström Ǆ ǆ', 'mixed日本語andEnglish123', '   \n   \n  x', 'end  \n', ' \t \n\t ', 'a' * 50, '!' * 40, ' ' * 70 + 'x', '0' * 40, '\n' * 35, 'ab ' * 20, foreign[:200], prose[:600],
]

def bpe():
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tok.train_from_iterator([prose, foreign, ''.join(texts)], trainers.BpeTrainer(vocab_size=1200, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    model = json.loads(tok.to_str())['model']
    tokens = [t for t, _ in sorted(model['vocab'].items(), key=lambda item: item[1])]
    # Every 40th merge goes and its token stays, so that rules which take a word whole differ from those that do not.
    merges = [tuple(m) for i, m in enumerate(model['merges']) if i % 40 != 39]
    # Tokens over places where only some rules cut, so that the vectors tell all rules apart.
    for joined in ["I'm", 'CamelCase', 'a\u0300\u0301', '日本']:
        whole = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=merges))
        whole.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        parts = whole.encode(joined).tokens
        while len(parts) > 1:
            merges.append((parts[0], parts[1]))
            parts[:2] = [parts[0] + parts[1]]
            tokens.append(parts[0])

    gpt2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
    tail = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    tail_slash = r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    up, low = r'[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]', r'[\p{Ll}\p{Lm}\p{Lo}\p{M}]'
    short = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
    # As the tokenizer.json files of the models have them; `default` and `falcon` as llama.cpp has them.
    patterns = {
        'gpt-2': [gpt2], 'smollm': ['digits', gpt2],
        'default': [r'[\p{P}\$\+<=>\^~\|]+', gpt2, r'\p{N}+', '[0-9][0-9][0-9]'], 'falcon': [r'[\p{P}\$\+<=>\^~\|`]+', gpt2, '[0-9][0-9][0-9]'],
        'llama-bpe': [short + r'|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}' + tail], 'smaug-bpe': [short + r'|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}' + tail],
        'qwen2': [short + r'|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}' + tail],
        'qwen35': [short + r'|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+'],
        'tekken': [rf'[^\r\n\p{{L}}\p{{N}}]?{up}*{low}+|[^\r\n\p{{L}}\p{{N}}]?{up}+{low}*|\p{{N}}' + tail_slash],
        'gpt-4o': [rf'[^\r\n\p{{L}}\p{{N}}]?{up}*{low}+{short}?|[^\r\n\p{{L}}\p{{N}}]?{up}+{low}*{short}?|\p{{N}}{{1,3}}' + tail_slash],
        'deepseek-v3': [r'\p{N}{1,3}', '[一-龥぀-ゟ゠-ヿ]+', r'''[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+'''],
        'deepseek-coder': [r'[\r\n]', r'\s?\p{L}+', r'\s?\p{P}+', '[一-龥ࠀ-一가-퟿]+', r'\p{N}'],
    }
    ids = {}
    for pre, parts in patterns.items():
        t = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=merges, ignore_merges=pre in ('llama-bpe', 'tekken')))
        cuts = [pre_tokenizers.Digits(individual_digits=True) if p == 'digits' else pre_tokenizers.Split(Regex(p), 'isolated') for p in parts]
        t.pre_tokenizer = pre_tokenizers.Sequence([*cuts, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
        ids[pre] = [t.encode(text).ids for text in texts]
    write('bpe.json', {'tokens': tokens, 'merges': [' '.join(m) for m in merges], 'texts': texts, 'ids': ids})

def spm():
    """sentencepiece keeps its own order of pairs; what it gives is what llama.cpp and the models' makers take as the truth."""
    cases = []
    variants = {
        'llama': dict(vocab_size=700, split_digits=True, add_dummy_prefix=True),
        'gemma': dict(vocab_size=700, split_digits=True, add_dummy_prefix=False, user_defined_symbols=['\n\n\n', '\n\n', '▁▁▁▁', '▁▁', '<b>', '</b>']),
        'spaces inside tokens': dict(vocab_size=900, split_by_whitespace=False, add_dummy_prefix=True),
    }
    with tempfile.TemporaryDirectory() as folder:
        with open(f'{folder}/train.txt', 'w', encoding='utf-8') as f: f.write(prose + '\n' + foreign)
        for name, options in variants.items():
            sentencepiece.SentencePieceTrainer.train(input=f'{folder}/train.txt', model_prefix=f'{folder}/m', model_type='bpe', byte_fallback=True, character_coverage=0.98,
                normalization_rule_name='identity', remove_extra_whitespaces=False, max_sentence_length=100000, minloglevel=2, **options)
            sp = sentencepiece.SentencePieceProcessor(model_file=f'{folder}/m.model')
            kind = lambda i: 2 if sp.is_unknown(i) else 3 if sp.is_control(i) else 6 if sp.is_byte(i) else 5 if sp.is_unused(i) else 4 if sp.id_to_piece(i) in options.get('user_defined_symbols', []) else 1
            n = range(sp.get_piece_size())
            cases.append({'name': name, 'addSpacePrefix': options['add_dummy_prefix'], 'tokens': [sp.id_to_piece(i) for i in n], 'scores': [sp.get_score(i) for i in n],
                          # sentencepiece ends its input at a NUL in some paths; llama.cpp does too.
                          'types': [kind(i) for i in n], 'ids': [None if '\0' in t else sp.encode(t) for t in texts]})
    write('spm.json', {'texts': texts, 'cases': cases})

styles = {
    'chatml': "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou are a test<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    'headers, trimmed': "{{- bos_token }}\n{%- for message in messages %}\n    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>' }}\n{%- endfor %}\n{%- if add_generation_prompt %}\n    {{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}\n{%- endif %}\n",
    'turns, system joined to the first question': "{{ bos_token }}{%- if messages[0]['role'] == 'system' -%}{%- set prefix = messages[0]['content'] + '\n\n' -%}{%- set rest = messages[1:] -%}{%- else -%}{%- set prefix = '' -%}{%- set rest = messages -%}{%- endif -%}{%- for m in rest -%}{%- if (m['role'] == 'user') != (loop.index0 % 2 == 0) -%}{{ raise_exception('roles must alternate') }}{%- endif -%}{{ '<start_of_turn>' + ('model' if m['role'] == 'assistant' else m['role']) + '\n' + (prefix if loop.first else '') }}{{ m['content'] | trim }}{{ '<end_of_turn>\n' }}{%- endfor -%}{%- if add_generation_prompt -%}{{ '<start_of_turn>model\n' }}{%- endif -%}",
    'thoughts taken out of answers': "{%- for m in messages %}{%- set content = m.content %}{%- if m.role == 'assistant' and '</think>' in content %}{%- set content = content.split('</think>')[-1].lstrip('\\n') %}{%- endif %}{{- '<|im_start|>' + m.role + '\\n' + content + '<|im_end|>\\n' }}{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n<think>\\n\\n</think>\\n\\n' }}{%- endif %}",
    'markers from roles': "{% for m in messages %}{{ '<|' + m.role + '|>\n' + m.content.strip() + eos_token + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}",
    'a switch in the system text': "{%- set ns = namespace(quick=false) %}{%- for m in messages %}{%- if m.role == 'system' and '/quick' in m.content %}{%- set ns.quick = true %}{{- '<|im_start|>system\\n' + m.content.replace('/quick', '').strip() + '<|im_end|>\\n' }}{%- else %}{{- '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{%- endif %}{%- endfor %}{{- '<|im_start|>assistant\\n' + ('<think>\\n\\n</think>\\n' if ns.quick else '') }}",
    'answers in capitals': "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + (m.content | upper if m.role == 'assistant' else m.content) + '<|im_end|>\n' }}{% endfor %}{{ '<|im_start|>assistant\n' }}",
}
chats = [
    [('user', 'Hi')],
    [('system', 'Be brief.'), ('user', 'What is 2 + 2?')],
    [('user', '  spaced out \n\n'), ('assistant', 'Yes.\n'), ('user', '\tAnd  now?  ')],
    [('system', ' /quick answers, please '), ('user', 'Où est la bibliothèque? 你好 😀\n'), ('assistant', '<think>\nhm\n</think>\n\nLà-bas | <there>.'), ('user', 'a < b | c > d "quoted" \\ {{ braces }} {% x %}')],
    [('user', ''), ('assistant', ''), ('user', "It's im_start and end_of_turn, user, assistant and model 123")],
]
control = ['<|begin|>', '<|end_of_text|>', '<|im_start|>', '<|im_end|>', '<|start_header_id|>', '<|end_header_id|>', '<|eot_id|>', '<start_of_turn>', '<end_of_turn>', '<|user|>', '<|assistant|>', '<|system|>']
markers = ['<think>', '</think>']

def chat():
    """Straightforward rendering, all special tokens recognised: what a prompt is when no message tries anything."""
    base = json.load(open(f'{here}/bpe.json', encoding='utf-8'))
    tok = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(base['tokens'])}, merges=[tuple(m.split(' ')) for m in base['merges']]))
    tok.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tok.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in control])
    tok.add_tokens([AddedToken(t, special=False, normalized=False) for t in markers])
    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    class Refusal(Exception): pass
    def refuse(why): raise Refusal(why)
    env.globals['raise_exception'] = refuse
    cases = []
    for name, source in styles.items():
        template = env.from_string(source)
        for i, messages in enumerate(chats):
            try:
                text = template.render(messages=[{'role': r, 'content': c} for r, c in messages], add_generation_prompt=True, bos_token='<|begin|>', eos_token='<|end_of_text|>')
            except Refusal: continue
            cases.append({'style': name, 'chat': i, 'text': text, 'ids': tok.encode(text).ids})
    write('chat.json', {'control': control, 'markers': markers, 'styles': styles, 'chats': [[{'role': r, 'content': c} for r, c in m] for m in chats], 'cases': cases})

def smollm2():
    fields = gguf.GGUFReader(sys.argv[2]).fields
    meta = {k: fields[k].contents() for k in ('tokenizer.ggml.tokens', 'tokenizer.ggml.merges', 'tokenizer.ggml.token_type', 'tokenizer.chat_template')}
    tokens = meta['tokenizer.ggml.tokens']
    def make(special):
        tok = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=[tuple(m.split(' ')) for m in meta['tokenizer.ggml.merges']]))
        tok.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
        if special: tok.add_special_tokens([AddedToken(t, special=True, normalized=False) for t, k in zip(tokens, meta['tokenizer.ggml.token_type']) if k == 3])
        return tok
    plain, special = make(False), make(True)
    template = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True).from_string(meta['tokenizer.chat_template'])
    rendered = [template.render(messages=[{'role': r, 'content': c} for r, c in m], add_generation_prompt=True) for m in chats]
    write('smollm2.json', {'texts': texts, 'ids': [plain.encode(t).ids for t in texts], 'chats': [[{'role': r, 'content': c} for r, c in m] for m in chats], 'chatIds': [special.encode(t).ids for t in rendered],
                           'prose': prose, 'proseIds': plain.encode(prose).ids})

def write(name, value):
    with open(f'{here}/{name}', 'w', encoding='utf-8') as f:
        f.write('{\n' + ',\n'.join(f'{json.dumps(k)}: {json.dumps(v, ensure_ascii=True, separators=(",", ":"))}' for k, v in value.items()) + '\n}\n')

bpe(); spm(); chat(); smollm2()
