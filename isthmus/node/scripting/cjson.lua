--[[
cjson: JSON as the cjson library bundled with Redis reads and writes it, its liberties included:
numbers may be hexadecimal, infinite or not a number when reading; "/" is escaped when writing.

Settings (depths, sparse arrays, precision ...) hold for one script: sharing them, as Redis does,
would let one user's script change what another's does. Returns the table, and a function that
sets the settings back.
--]]
local null, number_argument = ...

local error, next, rawget, select, tonumber, tostring, type =
    error, next, rawget, select, tonumber, tostring, type
local byte, char, find, format, gsub, lower, match, sub = string.byte, string.char, string.find,
    string.format, string.gsub, string.lower, string.match, string.sub
local concat, floor, huge = table.concat, math.floor, math.huge

local DEFAULTS = { convert = false, ratio = 2, safe = 10, encode_depth = 1000, decode_depth = 1000,
    precision = 14, encode_invalid = false, decode_invalid = true, keep_buffer = true }

local ESCAPES = { ['"'] = '\\"', ["\\"] = "\\\\", ["/"] = "\\/", ["\b"] = "\\b", ["\t"] = "\\t",
    ["\n"] = "\\n", ["\f"] = "\\f", ["\r"] = "\\r", ["\127"] = "\\u007f" }
for code = 0, 31 do
    local c = char(code)
    ESCAPES[c] = ESCAPES[c] or format("\\u%04x", code)
end
local TO_ESCAPE = '[%c"\\/\127]'
local UNESCAPED = { ['"'] = '"', ["\\"] = "\\", ["/"] = "/", b = "\b", f = "\f", n = "\n", r = "\r",
    t = "\t" }

-- ---------------------------------------------------------------------------------------------
-- writing

local encode_value

local function quoted(text)
    return '"' .. gsub(text, TO_ESCAPE, ESCAPES) .. '"'
end

local function number_text(settings, value)
    if value ~= value or value == huge or value == -huge then
        if settings.encode_invalid == false then
            error("Cannot serialise number: must not be NaN or Inf", 0)
        elseif settings.encode_invalid == "null" then
            return "null"
        end
        return value ~= value and "nan" or value > 0 and "inf" or "-inf"
    end
    return format("%." .. settings.precision .. "g", value)
end

local function array_length(settings, t)
    -- the length if all keys are positive integers and not too far apart, else nil
    local most, items = 0, 0
    for key in next, t do
        if type(key) ~= "number" or key < 1 or floor(key) ~= key then
            return nil
        end
        if key > most then
            most = key
        end
        items = items + 1
    end
    if settings.ratio > 0 and most > items * settings.ratio and most > settings.safe then
        if not settings.convert then
            error("Cannot serialise table: excessively sparse array", 0)
        end
        return nil
    end
    return most
end

local function encode_table(settings, out, t, depth)
    if depth > settings.encode_depth then
        error("Cannot serialise, excessive nesting (" .. depth .. ")", 0)
    end
    local length = array_length(settings, t)
    if length and length > 0 then
        out[#out + 1] = "["
        for i = 1, length do
            if i > 1 then
                out[#out + 1] = ","
            end
            encode_value(settings, out, rawget(t, i), depth)
        end
        out[#out + 1] = "]"
        return
    end
    out[#out + 1] = "{"
    local first = true
    for key, value in next, t do
        if not first then
            out[#out + 1] = ","
        end
        first = false
        if type(key) == "number" then
            out[#out + 1] = '"' .. number_text(settings, key) .. '":'
        elseif type(key) == "string" then
            out[#out + 1] = quoted(key) .. ":"
        else
            error("Cannot serialise " .. type(key) .. ": table key must be a number or string", 0)
        end
        encode_value(settings, out, value, depth)
    end
    out[#out + 1] = "}"
end

function encode_value(settings, out, value, depth)
    local kind = type(value)
    if kind == "string" then
        out[#out + 1] = quoted(value)
    elseif kind == "number" then
        out[#out + 1] = number_text(settings, value)
    elseif kind == "boolean" then
        out[#out + 1] = value and "true" or "false"
    elseif kind == "table" then
        encode_table(settings, out, value, depth + 1)
    elseif value == nil or value == null then
        out[#out + 1] = "null"
    else
        error("Cannot serialise " .. kind .. ": type not supported", 0)
    end
end

-- ---------------------------------------------------------------------------------------------
-- reading; a token is its name, its value, where it starts (from 1) and where the next may

local function utf8_text(code)
    if code < 128 then
        return char(code)
    elseif code < 2048 then
        return char(192 + floor(code / 64), 128 + code % 64)
    elseif code < 65536 then
        return char(224 + floor(code / 4096), 128 + floor(code / 64) % 64, 128 + code % 64)
    end
    return char(240 + floor(code / 262144), 128 + floor(code / 4096) % 64,
        128 + floor(code / 64) % 64, 128 + code % 64)
end

local function hex4(text, at)
    local digits = match(text, "^%x%x%x%x", at)
    return digits and tonumber(digits, 16)
end

local function unicode_escape(text, at)
    -- `at` is at the backslash of \uXXXX; the UTF-8 text and what follows, or nil
    local code = hex4(text, at + 2)
    if not code then
        return nil
    end
    if code >= 0xD800 and code < 0xE000 then
        local second = hex4(text, at + 8)
        if code >= 0xDC00 or sub(text, at + 6, at + 7) ~= "\\u" or not second
            or second < 0xDC00 or second > 0xDFFF then
            return nil
        end
        return utf8_text((code - 0xD800) * 1024 + second - 0xDC00 + 0x10000), at + 12
    end
    return utf8_text(code), at + 6
end

local function string_token(text, start)
    local parts, at = {}, start + 1
    while true do
        local stop = find(text, '[%z"\\]', at)
        if not stop or byte(text, stop) == 0 then
            return "T_ERROR", "unexpected end of string", stop or #text + 1
        end
        parts[#parts + 1] = sub(text, at, stop - 1)
        if byte(text, stop) == 34 then
            return "T_STRING", concat(parts), start, stop + 1
        end
        local letter = sub(text, stop + 1, stop + 1)
        if letter == "u" then
            local piece, after = unicode_escape(text, stop)
            if not piece then
                return "T_ERROR", "invalid unicode escape code", stop
            end
            parts[#parts + 1], at = piece, after
        elseif UNESCAPED[letter] then
            parts[#parts + 1], at = UNESCAPED[letter], stop + 2
        else
            return "T_ERROR", "invalid escape code", stop
        end
    end
end

local function not_json_number(text, at)
    -- what C's strtod takes and JSON does not: +1, 01, 0x1, inf, nan
    if byte(text, at) == 43 then
        return true
    end
    if byte(text, at) == 45 then
        at = at + 1
    end
    if match(text, "^0[xX0-9]", at) then
        return true
    end
    if match(text, "^[0-9]", at) then
        return false
    end
    local word = lower(sub(text, at, at + 2))
    return word == "inf" or word == "nan"
end

local NUMBER = "^[+-]?%d*%.?%d*"

local function number_token(text, start)
    -- as strtod: the longest prefix that is a number
    local sign, at = match(text, "^([+-]?)()", start)
    local word, after = match(lower(sub(text, at, at + 7)), "^(infinity)()")
    if not word then
        word, after = match(lower(sub(text, at, at + 2)), "^(inf)()")
    end
    local value
    if word then
        value, after = huge, at + after - 1
    elseif lower(sub(text, at, at + 2)) == "nan" then
        value, after = 0 / 0, at + 3
        after = match(text, "^%([%w_]*%)()", after) or after
        -- 0/0 is a negative one on this machine, and text spells it without the sign
        value = -value
    else
        local digits, stop = match(text, "^0[xX](%x+)()", at)
        if digits then
            value, after = 0, stop
            for i = 1, #digits do
                value = value * 16 + tonumber(sub(digits, i, i), 16)
            end
        else
            digits, after = match(text, "^(%d+%.?%d*)()", at)
            if not digits then
                digits, after = match(text, "^(%.%d+)()", at)
            end
            if not digits then
                return "T_ERROR", "invalid number", start
            end
            local exponent, beyond = match(text, "^([eE][+-]?%d+)()", after)
            if exponent then
                digits, after = digits .. exponent, beyond
            end
            value = tonumber(digits)
        end
    end
    return "T_NUMBER", sign == "-" and -value or value, start, after
end

local MARKS = { [123] = "T_OBJ_BEGIN", [125] = "T_OBJ_END", [91] = "T_ARR_BEGIN",
    [93] = "T_ARR_END", [44] = "T_COMMA", [58] = "T_COLON" }

local function next_token(settings, text, at)
    at = find(text, "[^ \t\r\n]", at) or #text + 1
    local code = byte(text, at)
    if not code or code == 0 then
        return "T_END", nil, at, at
    end
    local mark = MARKS[code]
    if mark then
        return mark, nil, at, at + 1
    end
    if code == 34 then
        return string_token(text, at)
    end
    if code == 45 or (code >= 48 and code <= 57) then
        if not settings.decode_invalid and not_json_number(text, at) then
            return "T_ERROR", "invalid number", at
        end
        return number_token(text, at)
    end
    if code == 116 and sub(text, at, at + 3) == "true" then
        return "T_BOOLEAN", true, at, at + 4
    elseif code == 102 and sub(text, at, at + 4) == "false" then
        return "T_BOOLEAN", false, at, at + 5
    elseif code == 110 and sub(text, at, at + 3) == "null" then
        return "T_NULL", null, at, at + 4
    end
    if settings.decode_invalid and find(text, "^[+iInN]", at) and not_json_number(text, at) then
        return number_token(text, at)
    end
    return "T_ERROR", "invalid token", at
end

local function unexpected(expected, token, value, at)
    local found = token == "T_ERROR" and value or token
    error("Expected " .. expected .. " but found " .. found .. " at character " .. at, 0)
end

local decode_value

local function descend(settings, depth, at)
    if depth > settings.decode_depth then
        error("Found too many nested data structures (" .. depth .. ") at character " .. at - 1, 0)
    end
end

local function decode_object(settings, text, at, depth)
    descend(settings, depth, at)
    local result = {}
    local token, value, where, after = next_token(settings, text, at)
    if token == "T_OBJ_END" then
        return result, after
    end
    while true do
        if token ~= "T_STRING" then
            unexpected("object key string", token, value, where)
        end
        local key = value
        token, value, where, after = next_token(settings, text, after)
        if token ~= "T_COLON" then
            unexpected("colon", token, value, where)
        end
        result[key], after = decode_value(settings, text, after, depth)
        token, value, where, after = next_token(settings, text, after)
        if token == "T_OBJ_END" then
            return result, after
        elseif token ~= "T_COMMA" then
            unexpected("comma or object end", token, value, where)
        end
        token, value, where, after = next_token(settings, text, after)
    end
end

local function decode_array(settings, text, at, depth)
    descend(settings, depth, at)
    local result, count = {}, 0
    local token, value, where, after = next_token(settings, text, at)
    if token == "T_ARR_END" then
        return result, after
    end
    after = at
    while true do
        count = count + 1
        result[count], after = decode_value(settings, text, after, depth)
        token, value, where, after = next_token(settings, text, after)
        if token == "T_ARR_END" then
            return result, after
        elseif token ~= "T_COMMA" then
            unexpected("comma or array end", token, value, where)
        end
    end
end

function decode_value(settings, text, at, depth)
    local token, value, where, after = next_token(settings, text, at)
    if token == "T_OBJ_BEGIN" then
        return decode_object(settings, text, after, depth + 1)
    elseif token == "T_ARR_BEGIN" then
        return decode_array(settings, text, after, depth + 1)
    elseif value == nil or token == "T_ERROR" then
        unexpected("value", token, value, where)
    end
    return value, after
end

-- ---------------------------------------------------------------------------------------------
-- the library

local function settle(pcall, ok, ...)
    if ok then
        return ...
    end
    local problem = ...
    error(problem, type(problem) == "string" and 3 or 0)
end

local function integer_option(settings, key, name, low, high, index, ...)
    local value = (...)
    if value ~= nil then
        local number = floor(number_argument(value, index, name, true))
        if number < low or number > high then
            error(format("bad argument #%d to '%s' (expected integer between %d and %d)", index, name,
                low, high), 3)
        end
        settings[key] = number
    end
    return settings[key]
end

local INT_MAX = 2147483647

local function invalid_option(name, value, index, choices)
    if type(value) == "boolean" then
        return value
    elseif type(value) == "number" then
        value = tostring(value)
    end
    if value == "on" or value == "off" then
        return value == "on"
    end
    for _, choice in next, choices do
        if value == choice then
            return value
        end
    end
    local shown = type(value) == "string" and "invalid option '" .. value .. "'"
        or "string expected, got " .. type(value)
    error(format("bad argument #%d to '%s' (%s)", index, name, shown), 3)
end

local function shown_option(value)
    return value
end

local pcall = pcall

local function library()
    local settings, changed = {}, true
    local function reset()
        if changed then
            changed = false
            for key, value in next, DEFAULTS do
                settings[key] = value
            end
        end
    end
    reset()

    local function bounded(name, count, most)
        if count > most then
            error(format("bad argument #%d to '%s' (found too many arguments)", most + 1, name), 3)
        end
        changed = changed or count > 0
    end

    local lib = { null = null, _NAME = "cjson", _VERSION = "2.1.0" }

    function lib.encode(...)
        if select("#", ...) ~= 1 then
            error("bad argument #1 to 'encode' (expected 1 argument)", 2)
        end
        local out = {}
        local value = ...
        local ok, problem = pcall(encode_value, settings, out, value, 0)
        if not ok then
            error(problem, type(problem) == "string" and 2 or 0)
        end
        return concat(out)
    end

    function lib.decode(...)
        if select("#", ...) ~= 1 then
            error("bad argument #1 to 'decode' (expected 1 argument)", 2)
        end
        local text = ...
        if type(text) == "number" then
            text = tostring(text)
        elseif type(text) ~= "string" then
            error("bad argument #1 to 'decode' (string expected, got " .. type(text) .. ")", 2)
        end
        if #text >= 2 and (byte(text, 1) == 0 or byte(text, 2) == 0) then
            error("JSON parser does not support UTF-16 or UTF-32", 2)
        end
        local ok, value, after = pcall(decode_value, settings, text, 1, 0)
        if not ok then
            error(value, type(value) == "string" and 2 or 0)
        end
        local token, found, where = next_token(settings, text, after)
        if token ~= "T_END" then
            local good, problem = pcall(unexpected, "the end", token, found, where)
            error(problem, good and 0 or 2)
        end
        return value
    end

    function lib.encode_sparse_array(...)
        bounded("encode_sparse_array", select("#", ...), 3)
        local convert, ratio, safe = ...
        if convert ~= nil then
            settings.convert = invalid_option("encode_sparse_array", convert, 1, {})
        end
        integer_option(settings, "ratio", "encode_sparse_array", 0, INT_MAX, 2, ratio)
        integer_option(settings, "safe", "encode_sparse_array", 0, INT_MAX, 3, safe)
        return settings.convert, settings.ratio, settings.safe
    end

    function lib.encode_max_depth(...)
        bounded("encode_max_depth", select("#", ...), 1)
        return (integer_option(settings, "encode_depth", "encode_max_depth", 1, INT_MAX, 1, ...))
    end

    function lib.decode_max_depth(...)
        bounded("decode_max_depth", select("#", ...), 1)
        return (integer_option(settings, "decode_depth", "decode_max_depth", 1, INT_MAX, 1, ...))
    end

    function lib.encode_number_precision(...)
        bounded("encode_number_precision", select("#", ...), 1)
        return (integer_option(settings, "precision", "encode_number_precision", 1, 14, 1, ...))
    end

    function lib.encode_keep_buffer(...)
        bounded("encode_keep_buffer", select("#", ...), 1)
        if (...) ~= nil then
            settings.keep_buffer = invalid_option("encode_keep_buffer", (...), 1, {})
        end
        return settings.keep_buffer
    end

    function lib.encode_invalid_numbers(...)
        bounded("encode_invalid_numbers", select("#", ...), 1)
        if (...) ~= nil then
            settings.encode_invalid = invalid_option("encode_invalid_numbers", (...), 1, { "null" })
        end
        return settings.encode_invalid
    end

    function lib.decode_invalid_numbers(...)
        bounded("decode_invalid_numbers", select("#", ...), 1)
        if (...) ~= nil then
            settings.decode_invalid = invalid_option("decode_invalid_numbers", (...), 1, {})
        end
        return settings.decode_invalid
    end

    function lib.new()
        return (library())
    end

    return lib, reset
end

return library()
