--[[
cmsgpack: MessagePack as the library bundled with Redis (0.4.0) writes and reads it.

A table whose keys are 1..n is an array, any other a map; below 16 levels tables become nil. A
number without a fraction is an integer, else a float if that loses nothing, else a double. Types
beyond the old format (ext) are refused when reading.
--]]
local pack_float, unpack_float = ...

local error, floor, next, select, tonumber, tostring, type, unpack =
    error, math.floor, next, select, tonumber, tostring, type, unpack
local byte, char, find, sub = string.byte, string.char, string.find, string.sub
local concat, huge = table.concat, math.huge

local NESTING_MAX = 16
local RESULTS_MAX = 7900
local INT64 = 2 ^ 63

-- ---------------------------------------------------------------------------------------------
-- writing

local function short_big_endian(value, size)
    if size == 4 then
        return char(floor(value / 16777216) % 256, floor(value / 65536) % 256,
            floor(value / 256) % 256, value % 256)
    end
    return char(floor(value / 256) % 256, value % 256)
end

local function big_endian(value, size)
    -- two's complement, from a double
    if size == 8 then
        local high = floor(value / 4294967296)
        return short_big_endian(high % 4294967296, 4)
            .. short_big_endian(value - high * 4294967296, 4)
    end
    return short_big_endian(value, size)
end

local function integer_text(value)
    if value >= 0 then
        if value <= 127 then
            return char(value)
        elseif value <= 0xFF then
            return "\204" .. char(value)
        elseif value <= 0xFFFF then
            return "\205" .. big_endian(value, 2)
        elseif value <= 0xFFFFFFFF then
            return "\206" .. big_endian(value, 4)
        end
        return "\207" .. big_endian(value, 8)
    end
    if value >= -32 then
        return char(256 + value)
    elseif value >= -128 then
        return "\208" .. char(256 + value)
    elseif value >= -32768 then
        return "\209" .. big_endian(value % 65536, 2)
    elseif value >= -2147483648 then
        return "\210" .. big_endian(value % 4294967296, 4)
    end
    return "\211" .. big_endian(value, 8)
end

local function number_text(value)
    if floor(value) == value and value >= -INT64 and value < INT64 then
        return integer_text(value)
    end
    return pack_float(value, 0)
end

local function string_text(text)
    local size = #text
    if size < 32 then
        return char(160 + size) .. text
    elseif size <= 0xFF then
        return "\217" .. char(size) .. text
    elseif size <= 0xFFFF then
        return "\218" .. big_endian(size, 2) .. text
    end
    return "\219" .. big_endian(size, 4) .. text
end

local function head(count, small, middle, large)
    if count <= 15 then
        return char(small + count)
    elseif count <= 0xFFFF then
        return middle .. big_endian(count, 2)
    end
    return large .. big_endian(count, 4)
end

local function is_array(t)
    local count, most = 0, 0
    for key in next, t do
        if type(key) ~= "number" or key <= 0 or floor(key) ~= key then
            return false
        end
        if key > most then
            most = key
        end
        count = count + 1
    end
    return most == count, count
end

local function write(out, value, level)
    local kind = type(value)
    local text
    if kind == "string" then
        text = string_text(value)
    elseif kind == "number" then
        text = number_text(value)
    elseif kind == "boolean" then
        text = value and "\195" or "\194"
    elseif kind == "table" and level < NESTING_MAX then
        local array, count = is_array(value)
        local at = #out + 1
        if array then
            out[at] = head(count, 144, "\220", "\221")
            for i = 1, count do
                write(out, value[i], level + 1)
            end
            return
        end
        out[at] = ""
        count = 0
        for key, item in next, value do
            write(out, key, level + 1)
            write(out, item, level + 1)
            count = count + 1
        end
        out[at] = head(count, 128, "\222", "\223")
        return
    else
        text = "\192"
    end
    out[#out + 1] = text
end

-- ---------------------------------------------------------------------------------------------
-- reading

local SHORT = "Missing bytes in input."
local BAD = "Bad data format in input."

local function unsigned(data, at, size)
    if at + size - 1 > #data then
        error(SHORT, 0)
    end
    local value = 0
    for i = at, at + size - 1 do
        value = value * 256 + byte(data, i)
    end
    return value
end

local function signed(data, at, size)
    if size == 8 then
        local high, low = unsigned(data, at, 4), unsigned(data, at + 4, 4)
        if high >= 2147483648 then
            high = high - 4294967296
        end
        return high * 4294967296 + low
    end
    local value, limit = unsigned(data, at, size), 256 ^ size
    return value >= limit / 2 and value - limit or value
end

local function text_of(data, at, size)
    if at + size - 1 > #data then
        error(SHORT, 0)
    end
    return sub(data, at, at + size - 1), at + size
end

local read

local function read_array(data, at, count, level)
    local items = {}
    for i = 1, count do
        items[i], at = read(data, at, level)
    end
    return items, at
end

local function read_map(data, at, count, level)
    local map, key, value = {}, nil, nil
    for _ = 1, count do
        key, at = read(data, at, level)
        value, at = read(data, at, level)
        if key == nil then
            error("table index is nil", 0)
        elseif key ~= key then
            error("table index is NaN", 0)
        end
        map[key] = value
    end
    return map, at
end

local SCALARS = { [0xc0] = { nil }, [0xc2] = { false }, [0xc3] = { true } }
local UNSIGNED = { [0xcc] = 1, [0xcd] = 2, [0xce] = 4, [0xcf] = 8 }
local SIGNED = { [0xd0] = 1, [0xd1] = 2, [0xd2] = 4, [0xd3] = 8 }
local TEXT = { [0xd9] = 1, [0xda] = 2, [0xdb] = 4 }
local ARRAY = { [0xdc] = 2, [0xdd] = 4 }
local MAP = { [0xde] = 2, [0xdf] = 4 }

function read(data, at, level)
    if at > #data then
        error(SHORT, 0)
    end
    level = level + 1
    if level > 150 then
        error("stack overflow (in function mp_decode_to_lua_array)", 0)
    end
    local code = byte(data, at)
    at = at + 1
    if code < 128 then
        return code, at
    elseif code >= 224 then
        return code - 256, at
    elseif code >= 160 and code < 192 then
        return text_of(data, at, code - 160)
    elseif code >= 144 and code < 160 then
        return read_array(data, at, code - 144, level)
    elseif code < 144 then
        return read_map(data, at, code - 128, level)
    elseif SCALARS[code] then
        return SCALARS[code][1], at
    elseif UNSIGNED[code] then
        if code == 0xcf then
            -- 64 bits come out signed, as they do there.
            return signed(data, at, 8), at + 8
        end
        return unsigned(data, at, UNSIGNED[code]), at + UNSIGNED[code]
    elseif SIGNED[code] then
        return signed(data, at, SIGNED[code]), at + SIGNED[code]
    elseif TEXT[code] then
        return text_of(data, at + TEXT[code], unsigned(data, at, TEXT[code]))
    elseif code == 0xca or code == 0xcb then
        local size = code == 0xca and 4 or 8
        if at + size - 1 > #data then
            error(SHORT, 0)
        end
        return unpack_float(sub(data, at, at + size - 1), ">"), at + size
    elseif ARRAY[code] then
        return read_array(data, at + ARRAY[code], unsigned(data, at, ARRAY[code]), level)
    elseif MAP[code] then
        return read_map(data, at + MAP[code], unsigned(data, at, MAP[code]), level)
    end
    error(BAD, 0)
end

-- ---------------------------------------------------------------------------------------------
-- the library

local pcall = pcall
local lib = { _NAME = "cmsgpack", _VERSION = "lua-cmsgpack 0.4.0",
    _COPYRIGHT = "Copyright (C) 2012, Salvatore Sanfilippo",
    _DESCRIPTION = "MessagePack C implementation for Lua" }

function lib.pack(...)
    local count = select("#", ...)
    if count == 0 then
        error("bad argument #0 to 'pack' (MessagePack pack needs input.)", 2)
    end
    local out = {}
    for i = 1, count do
        write(out, (select(i, ...)), 0)
    end
    return concat(out)
end

local function checked_text(text, name)
    if type(text) == "number" then
        return tostring(text)
    elseif type(text) ~= "string" then
        local got = text == nil and "no value" or type(text)
        error("bad argument #1 to '" .. name .. "' (string expected, got " .. got .. ")", 3)
    end
    return text
end

local function unpack_all(data, limit, offset)
    -- `limit` values (0: all) from a byte offset on; a list, its length, and where it stopped
    if offset < 0 or limit < 0 then
        error("Invalid request to unpack with offset of " .. offset .. " and limit of " .. #data
            .. ".", 0)
    elseif offset > #data then
        error("Start offset " .. offset .. " greater than input length " .. #data .. ".", 0)
    end
    if limit == 0 and offset == 0 then
        limit = huge
    end
    local values, count, at = {}, 0, offset + 1
    while at <= #data and count < limit do
        if count >= RESULTS_MAX then
            error("stack overflow (too many return values at once; use unpack_one or unpack_limit instead.)", 0)
        end
        count = count + 1
        values[count], at = read(data, at, 0)
    end
    return values, count, at > #data and -1 or at - 1
end

local function unpack_some(data, limit, offset, with_offset)
    local ok, values, count, stop = pcall(unpack_all, data, limit, offset)
    if not ok then
        local placed = type(values) == "string" and not find(values, "table index", 1, true)
        error(values, placed and 3 or 0)
    end
    if with_offset then
        return stop, unpack(values, 1, count)
    end
    return unpack(values, 1, count)
end

local function integer(value, default)
    local number = tonumber(value) or default
    return number < 0 and -floor(-number) or floor(number)
end

function lib.unpack(data)
    data = checked_text(data, "unpack")
    return unpack_some(data, 0, 0, false)
end

function lib.unpack_one(data, offset)
    data = checked_text(data, "unpack_one")
    return unpack_some(data, 1, integer(offset, 0), true)
end

function lib.unpack_limit(data, limit, offset)
    data = checked_text(data, "unpack_limit")
    if type(limit) ~= "number" and not tonumber(limit) then
        local got = limit == nil and "no value" or type(limit)
        error("bad argument #2 to 'unpack_limit' (number expected, got " .. got .. ")", 2)
    end
    return unpack_some(data, integer(limit, 0), integer(offset, 0), true)
end

return lib
