//! What expressions mean: after jq 1.7's manual.

use serde_json::Value;

use super::super::{Expression, Limits};

/// Checks all the values that each expression gives for its input, as JSON.
fn check(cases: &[(&str, &str, &str)]) {
    let mut wrong = Vec::new();
    for (text, input, expected) in cases {
        let input: Value = serde_json::from_str(input).unwrap();
        let expected: Value = serde_json::from_str(expected).unwrap();
        match Expression::new(&format!("[{text}]")).evaluate(&input, &[], Limits::default()) {
            // As text, so that the order of keys and 1 and 1.0 count.
            Ok(value) if format!("{value}") == format!("{expected}") => {}
            Ok(value) => wrong.push(format!("{text}\n  gave     {value}\n  expected {expected}")),
            Err(error) => wrong.push(format!("{text}: {error}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn places() {
    check(&[
        (".", "1", "[1]"),
        (".a.b", r#"{"a":{"b":2}}"#, "[2]"),
        (".a.b.c", r#"{"a":null}"#, "[null]"),
        (".\"a b\", .[\"a\"], .a?, ([1]|.a?)", r#"{"a b":1,"a":2}"#, "[1,2,2]"),
        (".[0], .[-1], .[9], .[1.7]", "[1,2,3]", "[1,3,null,2]"),
        (".[1:], .[:1], .[-2:], .[1:2]", "[1,2,3]", "[[2,3],[1],[2,3],[2]]"),
        (".[2:4], .[-1:], .[:0]", "\"aéîöu\"", r#"["îö","u",""]"#),
        (".[]", r#"{"b":1,"a":2}"#, "[1,2]"),
        (".[]?, 1", "1", "[1]"),
        ("..", "[[1]]", "[[[1]],[1],1]"),
        (".a[0].b, .a.[0].b, .a[].b", r#"{"a":[{"b":1}]}"#, "[1,1,1]"),
        (".[][0,1]", "[[1,2],[3,4]]", "[1,3,2,4]"),
        (".and, .if", r#"{"and":1,"if":2}"#, "[1,2]"),
        (".[[2,3]]", "[1,2,3,2,3]", "[[1,3]]"),
    ]);
}

#[test]
fn values_and_operators() {
    check(&[
        ("[], {}, [1,2], [.[] | . + 1]", "[1]", "[[],{},[1,2],[2]]"),
        (
            "{a, \"b\", \"c\": 3, (\"d\"): 4, @text \"e\": 5}",
            r#"{"a":1,"b":2}"#,
            r#"[{"a":1,"b":2,"c":3,"d":4,"e":5}]"#,
        ),
        ("{a: (1,2), b: (3,4)}", "null", r#"[{"a":1,"b":3},{"a":1,"b":4},{"a":2,"b":3},{"a":2,"b":4}]"#),
        ("1 as $x | {$x, b: 1 + $x, c: [3] | length}", "null", r#"[{"x":1,"b":2,"c":1}]"#),
        (
            "\"k\" as $x | {$x: 1}, {$__loc__}",
            "null",
            r#"[{"k":1},{"__loc__":{"file":"<expression>","line":1}}]"#,
        ),
        ("{if: 1, and: 2}", "null", r#"[{"if":1,"and":2}]"#),
        ("1 + 2 * 3 - 4 / 2 % 3, -(1 + 2), -., -1 + 2, 1 - -2 * 3", "5", "[5,-3,-5,1,7]"),
        ("(1,2) + (10,20)", "null", "[11,12,21,22]"),
        ("null + 1, [1] + [2], {a:1} + {a:2}, \"a\" + \"b\"", "null", r#"[1,[1,2],{"a":2},"ab"]"#),
        (
            "[1,2,1] - [1], \"ab\" * 2, \"a\" * 0, {a:{b:1}} * {a:{c:2}}",
            "null",
            r#"[[2],"abab",null,{"a":{"b":1,"c":2}}]"#,
        ),
        ("\"a,b\" / \",\", 7 / 2, 6 / 2, 5 % -3, -5 % 3", "null", r#"[["a","b"],3.5,3,2,-2]"#),
        (
            "1 < 2, \"a\" < \"b\", [1] < [1,2], {} > [], null < false, (nan < nan), (nan == nan)",
            "null",
            "[true,true,true,true,true,true,false]",
        ),
        (
            "true and false, true or error, (true,false) and (true,false)",
            "null",
            "[false,true,true,false,false]",
        ),
        (
            ".a // 1, (false, null, 2, 3) // 4, empty // 5, (try (error(\"x\") // 6) catch 6)",
            "{}",
            "[1,2,3,5,6]",
        ),
        ("1, null | not", "null", "[false,true]"),
        (
            "\"a\\(1 + 1)b\\(\"x\")\", \"\\u00e9\\ud83d\\ude00\\n\", \"\\(1,2)-\\(3,4)\"",
            "null",
            r#"["a2bx","é😀\n","1-3","2-3","1-4","2-4"]"#,
        ),
        ("@base64 \"x\\(.)\", @json \"v=\\(.)\"", "\"hi\"", r#"["xaGk=","v=\"hi\""]"#),
    ]);
}

#[test]
fn numbers_are_exact_as_long_as_they_fit() {
    check(&[
        (
            ".[0], .[1], .[2]",
            "[9223372036854775807, 18446744073709551615, 1.0]",
            "[9223372036854775807,18446744073709551615,1.0]",
        ),
        ("9007199254740993 + 0, 9007199254740993 == 9007199254740992", "null", "[9007199254740993,false]"),
        ("9223372036854775807 + 1", "null", "[9223372036854775807.0]"),
        (
            "1e1000, -1e1000, nan, infinite",
            "null",
            "[1.7976931348623157e308,-1.7976931348623157e308,null,1.7976931348623157e308]",
        ),
        ("1.5 * 2, 10 / 4, 0.1 + 0.2, 1e3", "null", "[3,2.5,0.30000000000000004,1000.0]"),
        ("\"12\", \"1.5\", \"-3e2\" | tonumber", "null", "[12,1.5,-300.0]"),
        (
            "(9223372036854775807 | tostring), 3.0 , (10 / 2 | tostring), (1.5 | tojson)",
            "null",
            r#"["9223372036854775807",3.0,"5","1.5"]"#,
        ),
        (
            "pow(2; 10), (16 | sqrt), (1.5 | floor, ceil, round), (-1 | abs), (10 | log10)",
            "null",
            "[1024,4,1,2,2,1,1]",
        ),
    ]);
}

#[test]
fn control() {
    check(&[
        (
            "if . then 1 else 2 end, if false then 1 end, if null then 1 elif true then 2 else 3 end",
            "0",
            "[1,0,2]",
        ),
        ("if (true,false) then 1 else 2 end", "null", "[1,2]"),
        ("try error(\"x\") catch ., try error catch ., (error(\"x\")?), [.[]?]", "null", r#"["x",null,[]]"#),
        ("try (1, error(\"x\"), 2) catch .", "null", r#"[1,"x"]"#),
        ("try ((try 1 catch 2) | error(\"out\")) catch .", "null", r#"["out"]"#),
        ("(try (1,2) catch 9) as $x | try error($x) catch . + 10", "null", "[11,12]"),
        ("[try ([1, error(\"in\")] | length) catch .]", "null", r#"[["in"]]"#),
        ("try (reduce (1,2) as $x (0; error(\"r\"))) catch .", "null", r#"["r"]"#),
        ("try ({a: 1} | .a |= error(\"u\")) catch .", "null", r#"["u"]"#),
        ("reduce .[] as $x (0; . + $x), (reduce empty as $x (3; .))", "[1,2,3]", "[6,3]"),
        ("reduce .[] as [$a, {b: $c}] (0; . + $a * $c)", r#"[[1,{"b":2}],[3,{"b":4}]]"#, "[14]"),
        (
            "foreach .[] as $x (0; . + $x), (foreach .[] as $x (0; . + $x; [$x, .]))",
            "[1,2]",
            "[1,3,[1,1],[2,3]]",
        ),
        (". as [$a, [$b]] | {$a, $b}", "[1,[2]]", r#"[{"a":1,"b":2}]"#),
        (". as {a: $x, $b, (\"c\"): [$d]} | [$x, $b, $d]", r#"{"a":1,"b":2,"c":[3]}"#, "[[1,2,3]]"),
        ("label $out | (1, 2 | ., break $out), 3", "null", "[1]"),
        ("label $a | label $b | 1, break $a, 2", "null", "[1]"),
        ("def f: . + 1; f | f, (def g(x): x | x; g(. * 2))", "1", "[3,8]"),
        (
            "def f($a; b): $a + b + a; f(1; 2), (def fac: if . < 2 then 1 else . * (. - 1 | fac) end; 5 | fac)",
            "null",
            "[4,120]",
        ),
        ("def f(g): def h: g; 3 as $x | h; 5 as $x | f($x)", "null", "[5]"),
        ("def f(x): x as $x | if $x > 3 then [$x] else f($x + 1) end; f(0)", "null", "[[4]]"),
        (
            "[limit(2; 1, 2, error)], [limit(0; error)], first(range(5)), [range(3)], [range(5; 0; -2)], [range(0, 1; 3, 4)]",
            "null",
            "[[1,2],[],0,[0,1,2],[5,3,1],[0,1,2,0,1,2,3,1,2,1,2,3]]",
        ),
        (
            "[.[] | select(. > 1)], map(. + 1), (map_values(. * 2)), any(. > 2), all(. > 2), isempty(.[])",
            "[1,2,3]",
            "[[2,3],[2,3,4],[2,4,6],true,false,false]",
        ),
        (
            "[until(. > 100; . * 2)], [while(. < 10; . + 4)], [limit(3; repeat(. * 2))], [limit(-1; 1, 2)], ([.a.b?] | 1)?, [recurse(if . < 3 then . + 1 else empty end)]",
            "1",
            "[[128],[1,5,9],[2,2,2],[1,2],[1,2,3]]",
        ),
        (
            "first, last, nth(1), nth(1; .[]), first(.[]), last(.[]), [skip(1; .[])]",
            "[1,2,3]",
            "[1,3,2,2,1,3,[2,3]]",
        ),
        ("1 + . as $x | $x", "2", "[3]"),
        ("1 as $x | 2 as $y | [$x, $y, $__loc__.line] # end\n", "null", "[[1,2,1]]"),
    ]);
}

#[test]
fn paths_and_updates() {
    check(&[
        (
            "path(.a[0].b), [paths], [path(..)], (path(first(.a[])))",
            r#"{"a":[{"b":1}]}"#,
            r#"[["a",0,"b"],[["a"],["a",0],["a",0,"b"]],[[],["a"],["a",0],["a",0,"b"]],["a",0]]"#,
        ),
        ("[paths(type == \"number\")], [leaf_paths]", r#"{"a":[1,"x"]}"#, r#"[[["a",0]],[["a",0],["a",1]]]"#),
        (
            "getpath([\"a\",0]), getpath([\"x\",\"y\"]), setpath([\"b\",1]; 2)",
            r#"{"a":[5]}"#,
            r#"[5,null,{"a":[5],"b":[null,2]}]"#,
        ),
        (
            ".a = 1, .b.c[1] = 2, .a |= . + 1, .a += 2, .a -= 2, .a *= 3, .x //= 9",
            r#"{"a":5}"#,
            r#"[{"a":1},{"a":5,"b":{"c":[null,2]}},{"a":6},{"a":7},{"a":3},{"a":15},{"a":5,"x":9}]"#,
        ),
        (
            ".[] += 1, (.[] |= empty), .[1:] = [9], (.[0:2] |= map(. * 2)), .[-1] = 0",
            "[1,2,3]",
            "[[2,3,4],[],[1,9],[2,4,3],[1,2,0]]",
        ),
        (".[(0,1)] = (5,6), (.[0] = (.[1] | . + 1))", "[1,2]", "[[5,5],[6,6],[3,2]]"),
        (
            "(.[] | select(. > 1)) |= . * 10, ((.[0], .[2]) |= 0), (.. |= .)",
            "[1,2,3]",
            "[[1,20,30],[0,2,0],[1,2,3]]",
        ),
        (
            "del(.[1]), del(.[0,2]), del(.[] | select(. > 1)), delpaths([[0],[1]]), del(.[1:])",
            "[1,2,3]",
            "[[1,3],[2],[1],[3],[1]]",
        ),
        (
            "del(.a), del(.x.y), with_entries(.value += 1), to_entries, pick(.a)",
            r#"{"a":1,"b":2}"#,
            r#"[{"b":2},{"a":1,"b":2},{"a":2,"b":3},[{"key":"a","value":1},{"key":"b","value":2}],{"a":1}]"#,
        ),
        (
            "from_entries",
            r#"[{"key":"a","value":1},{"name":"b","value":false},{"k":null,"v":3}]"#,
            r#"[{"a":1,"b":false,"null":3}]"#,
        ),
        ("(.a | if . then .b else .c end) = 1", r#"{"a":{"c":0}}"#, r#"[{"a":{"c":0,"b":1}}]"#),
        (
            "path(.a // .b), path(getpath([\"a\",\"b\"])), [path(.a, .b | select(. == null))]",
            "null",
            r#"[["b"],["a","b"],[["a"],["b"]]]"#,
        ),
        ("try path(1) catch \"no\", try (1 |= 2) catch \"no\", (path(empty))", "null", r#"["no","no"]"#),
        (
            "walk(if type == \"number\" then . + 1 else . end), [tostream]",
            "[1,[2]]",
            "[[2,[3]],[[[0],1],[[1,0],2],[[1,0]],[[1]]]]",
        ),
    ]);
}

#[test]
fn functions_of_values() {
    check(&[
        (".[] | length", r#"[null,-5,"é1",[1],{"a":1}]"#, "[0,5,2,1,1]"),
        (
            ".[] | type",
            r#"[null,true,1,"",[],{}]"#,
            r#"["null","boolean","number","string","array","object"]"#,
        ),
        (
            "keys, keys_unsorted, has(\"b\"), (\"a\" | in({a: 1}))",
            r#"{"b":1,"a":2}"#,
            r#"[["a","b"],["b","a"],true,true]"#,
        ),
        ("contains(\"ar\"), (\"foobar\" | inside(\"foobarbaz\"))", "\"bar\"", "[true,true]"),
        ("contains({a: [\"x\"]})", r#"{"a":["xyz","b"],"c":1}"#, "[true]"),
        (
            "sort, sort_by(-.), min, max, unique, reverse, add, add(.[] * 2), group_by(. % 2), (tojson | fromjson)",
            "[3,1,2,1]",
            "[[1,1,2,3],[3,2,1,1],1,3,[1,2,3],[1,2,1,3],7,14,[[2],[3,1,1]],[3,1,2,1]]",
        ),
        (
            "sort",
            r#"[{"b":1},{"a":2},[1],"a",1,true,false,null]"#,
            r#"[[null,false,true,1,"a",[1],{"a":2},{"b":1}]]"#,
        ),
        (
            "sort_by(.a, .b), unique_by(.a), min_by(.b), max_by(.b)",
            r#"[{"a":2,"b":1},{"a":1,"b":3},{"a":1,"b":2}]"#,
            r#"[[{"a":1,"b":2},{"a":1,"b":3},{"a":2,"b":1}],[{"a":1,"b":3},{"a":2,"b":1}],{"a":2,"b":1},{"a":1,"b":3}]"#,
        ),
        ("flatten, flatten(1), transpose", "[[1,[2]],[3]]", "[[1,2,3],[1,[2],3],[[1,3],[[2],null]]]"),
        (
            "indices(1), index(1), rindex(1), (\"a,b, c\" | indices(\", \"), index(\",\"), rindex(\",\")), bsearch(2), bsearch(0)",
            "[1,2,1]",
            "[[0,2],0,2,[3],1,3,1,-1]",
        ),
        (
            "[combinations], [[0,1] | combinations(2)]",
            "[[1,2],[3]]",
            "[[[1,3],[2,3]],[[0,0],[0,1],[1,0],[1,1]]]",
        ),
        (
            "tostring, tojson, ([1,{a:nan}] | tojson), (\"x\" | tostring, tojson)",
            "[1,\"a\"]",
            r#"["[1,\"a\"]","[1,\"a\"]","[1,{\"a\":null}]","x","\"x\""]"#,
        ),
        ("IN(1, 2), any, all, INDEX(.), toarray", "[1]", r#"[false,true,true,{"1":1},[1]]"#),
        (
            "[splits(\", *\")], [range(0; 1; 0.3)]",
            "\"a, b,c\"",
            r#"[["a","b","c"],[0,0.3,0.6,0.8999999999999999]]"#,
        ),
        (
            "map(numbers), map(scalars), map(iterables | length), map(values | type)",
            r#"[1,null,"a",[1]]"#,
            r#"[[1],[1,null,"a"],[1],["number","string","array"]]"#,
        ),
    ]);
}

#[test]
fn functions_of_strings() {
    check(&[
        (
            "ascii_downcase, ascii_upcase, ltrimstr(\"A\"), rtrimstr(\"b\"), explode, (explode | implode), utf8bytelength",
            "\"Aéb\"",
            r#"["aéb","AéB","éb","Aé",[65,233,98],"Aéb",4]"#,
        ),
        (
            "trim, ltrim, rtrim, startswith(\" a\"), endswith(\"b \"), split(\"b\"), test(\"A\"; \"i\")",
            "\" ab \"",
            r#"["ab","ab "," ab",true,true,[" a"," "],true]"#,
        ),
        ("join(\", \"), (.[:2] | join(\"-\"))", r#"["a",1,null,true]"#, r#"["a, 1, , true","a-1"]"#),
        (
            "@csv, @tsv, (@sh), @json, @text",
            r#"[1,"a\"b","c d",null]"#,
            r#"["1,\"a\"\"b\",\"c d\",","1\ta\"b\tc d\t","1 'a\"b' 'c d' null","[1,\"a\\\"b\",\"c d\",null]","[1,\"a\\\"b\",\"c d\",null]"]"#,
        ),
        (
            "@html, @uri, @base64, @base32, (@base64 | @base64d), (@base32 | @base32d), (@uri | @urid), @sh",
            "\"<é&'>\"",
            r#"["&lt;é&amp;&#39;&gt;","%3C%C3%A9%26%27%3E","PMOpJic+","HTB2SJRHHY======","<é&'>","<é&'>","<é&'>","'<é&'\\''>'"]"#,
        ),
        (
            "test(\"b+\"), (match(\"(b)(x)?\") | .offset, .string, .captures), [scan(\"[a-c]\")], capture(\"(?<n>b+)\")",
            "\"abbé\"",
            r#"[true,1,"b",[{"offset":1,"length":1,"string":"b","name":null},{"offset":-1,"length":0,"string":null,"name":null}],["a","b","b"],{"n":"bb"}]"#,
        ),
        (
            "sub(\"b\"; \"x\"), gsub(\"b\"; \"x\"), gsub(\"(?<l>[ab])\"; \"<\\(.l)>\"), gsub(\"\"; \"-\"), split(\"b+\"; null), [match(\"é\", [\"B\", \"gi\"]).offset]",
            "\"abbé\"",
            r#"["axbé","axxé","<a><b><b>é","-a-b-b-é-",["a","é"],[3,1,2]]"#,
        ),
        (
            "gsub(\"^a|c$\"; \"_\"), gsub(\"\\\\s+\"; \" \"), test(\"^a.*c$\"), [match(\"(?i)B\"; \"g\").length]",
            "\"a  b c\"",
            r#"["_  b _","a b c",true,[1]]"#,
        ),
        (
            "todate, (todate | fromdate), (gmtime | mktime), strftime(\"%Y-%m-%d\"), (\"2015-03-05T23:51:47Z\" | strptime(\"%Y-%m-%dT%H:%M:%SZ\"), fromdateiso8601)",
            "1425599621",
            r#"["2015-03-05T23:53:41Z",1425599621,1425599621,"2015-03-05",[2015,2,5,23,51,47,4,63],1425599507]"#,
        ),
    ]);
}
