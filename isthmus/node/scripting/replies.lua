--[[
Replies: what a command answered, from RESP to Lua values (`called`); and what a script returns, from
Lua values to RESP (`reply`).

A script is spoken to in the protocol it asked for with redis.setresp, 2 if it did not; its result is
written in its client's protocol. Redis' rules: a nil ends an array; numbers lose their fraction;
tables with a field err, ok, double, map, set, big_number or verbatim_string are of that type. Text
that becomes one line of the protocol loses its line ends.
--]]
local host, raise = ...

local error, next, rawget, tonumber, type = error, next, rawget, tonumber, type
local byte, find, format, gsub, sub = string.byte, string.find, string.format, string.gsub, string.sub
local concat, huge = table.concat, math.huge

-- ---------------------------------------------------------------------------------------------
-- replies of commands, from the protocol's bytes to Lua values

local read_value

local function read_items(data, at, count)
    local items = {}
    for i = 1, count do
        items[i], at = read_value(data, at)
    end
    return items, at
end

local readers = {
    [36] = function(data, line, after) -- $
        local size = tonumber(line)
        if size < 0 then
            return false, after
        end
        return sub(data, after, after + size - 1), after + size + 2
    end,
    [58] = function(_, line, after) -- :
        return tonumber(line), after
    end,
    [43] = function(_, line, after) -- +
        return { ok = line }, after
    end,
    [45] = function(_, line, after) -- -
        return { err = line, ignore_error_stats_update = true }, after
    end,
    [42] = function(data, line, after) -- *
        local count = tonumber(line)
        if count < 0 then
            return false, after
        end
        return read_items(data, after, count)
    end,
    [95] = function(_, _, after) -- _
        return nil, after
    end,
    [35] = function(_, line, after) -- #
        return line == "t", after
    end,
    [44] = function(_, line, after) -- ,
        return { double = line == "inf" and huge or line == "-inf" and -huge
            or line == "nan" and 0 / 0 or tonumber(line) }, after
    end,
    [40] = function(_, line, after) -- (
        return { big_number = line }, after
    end,
    [61] = function(data, line, after) -- =
        local size = tonumber(line)
        return { verbatim_string = { format = sub(data, after, after + 2),
            string = sub(data, after + 4, after + size - 1) } }, after + size + 2
    end,
    [37] = function(data, line, after) -- %
        local map, key, value = {}, nil, nil
        for _ = 1, tonumber(line) do
            key, after = read_value(data, after)
            value, after = read_value(data, after)
            if key ~= nil then
                map[key] = value
            end
        end
        return { map = map }, after
    end,
    [124] = function(data, line, after) -- |
        -- Attributes are about the reply that follows them; a script gets that alone.
        local _
        for _ = 1, 2 * tonumber(line) do
            _, after = read_value(data, after)
        end
        return read_value(data, after)
    end,
    [126] = function(data, line, after) -- ~
        local members, key = {}, nil
        for _ = 1, tonumber(line) do
            key, after = read_value(data, after)
            if key ~= nil then
                members[key] = true
            end
        end
        return { set = members }, after
    end,
}

function read_value(data, at)
    local stop = find(data, "\r\n", at, true)
    return readers[byte(data, at)](data, sub(data, at + 1, stop - 1), stop + 2)
end

local function called(data, raising)
    if data == false then
        data = { err = "ERR Lua redis lib command arguments must be strings or integers" }
        if raising then
            error(data, 0)
        end
        return data
    elseif type(data) ~= "string" then
        raise(data and "redis.call/pcall can only be called inside a script invocation"
            or "not enough memory")
    end
    local kind = byte(data, 1)
    if kind == 58 then
        return tonumber(sub(data, 2, -3))
    end
    local value = read_value(data, 1)
    if raising and kind == 45 then
        error(value, 0)
    end
    return value
end

-- ---------------------------------------------------------------------------------------------
-- results of scripts, from Lua values to the protocol's bytes

local DEPTH_MAX = host.reply_depth_max
local write_value

local function one_line(text)
    return (gsub(text, "[\r\n]", " "))
end

local function c_line(text)
    -- Redis takes these as C strings, which end at a NUL
    return one_line(sub(text, 1, (find(text, "%z") or 0) - 1))
end

local function write_pairs(out, t, protocol, resp, depth)
    local count, head = 0, #out + 1
    out[head] = ""
    for key, value in next, t do
        count = count + 1
        write_value(out, key, protocol, resp, depth)
        write_value(out, value, protocol, resp, depth)
    end
    out[head] = protocol == 3 and "%" .. count .. "\r\n" or "*" .. 2 * count .. "\r\n"
end

local function write_members(out, t, protocol, resp, depth)
    local count, head = 0, #out + 1
    out[head] = ""
    for key in next, t do
        count = count + 1
        write_value(out, key, protocol, resp, depth)
    end
    out[head] = (protocol == 3 and "~" or "*") .. count .. "\r\n"
end

local function write_bulk(out, text)
    local at = #out
    out[at + 1] = "$" .. #text .. "\r\n"
    out[at + 2] = text
    out[at + 3] = "\r\n"
end

local function write_special(out, t, protocol, resp, depth)
    -- a table with one of the fields that name a type; false if it has none
    local field = rawget(t, "err")
    if type(field) == "string" then
        host.note_error(field, rawget(t, "ignore_error_stats_update") and true or false)
        out[#out + 1] = "-" .. c_line(field) .. "\r\n"
        return true
    end
    field = rawget(t, "ok")
    if type(field) == "string" then
        out[#out + 1] = "+" .. c_line(field) .. "\r\n"
        return true
    end
    field = rawget(t, "double")
    if type(field) == "number" then
        out[#out + 1] = host.double(field, protocol)
        return true
    end
    field = rawget(t, "map")
    if type(field) == "table" then
        write_pairs(out, field, protocol, resp, depth)
        return true
    end
    field = rawget(t, "set")
    if type(field) == "table" then
        write_members(out, field, protocol, resp, depth)
        return true
    end
    field = rawget(t, "big_number")
    if type(field) == "string" then
        if protocol == 3 then
            out[#out + 1] = "(" .. one_line(field) .. "\r\n"
        else
            write_bulk(out, one_line(field))
        end
        return true
    end
    field = rawget(t, "verbatim_string")
    if type(field) == "table" then
        local kind, text = rawget(field, "format"), rawget(field, "string")
        if type(kind) == "string" and type(text) == "string" then
            if protocol == 3 then
                out[#out + 1] = "=" .. #text + 4 .. "\r\n" .. sub(kind .. "   ", 1, 3) .. ":"
                out[#out + 1] = text
                out[#out + 1] = "\r\n"
            else
                write_bulk(out, text)
            end
            return true
        end
    end
    return false
end

function write_value(out, value, protocol, resp, depth)
    local kind = type(value)
    if kind == "string" then
        write_bulk(out, value)
    elseif kind == "number" then
        out[#out + 1] = format(":%d\r\n", value)
    elseif kind == "boolean" and resp == 3 then
        out[#out + 1] = protocol == 3 and (value and "#t\r\n" or "#f\r\n")
            or (value and ":1\r\n" or ":0\r\n")
    elseif value == true then
        out[#out + 1] = ":1\r\n"
    elseif kind ~= "table" then
        out[#out + 1] = protocol == 3 and "_\r\n" or "$-1\r\n"
    elseif depth > DEPTH_MAX then
        out[#out + 1] = "-ERR reached lua stack limit\r\n"
    elseif not write_special(out, value, protocol, resp, depth + 1) then
        local count, head = 0, #out + 1
        out[head] = ""
        while true do
            local item = rawget(value, count + 1)
            if item == nil then
                break
            end
            count = count + 1
            write_value(out, item, protocol, resp, depth + 1)
        end
        out[head] = "*" .. count .. "\r\n"
    end
end

local function reply(value, protocol, resp)
    local kind = type(value)
    if kind == "string" then
        return "$" .. #value .. "\r\n" .. value .. "\r\n"
    elseif kind == "number" then
        return format(":%d\r\n", value)
    end
    local out = {}
    write_value(out, value, protocol, resp, 0)
    return concat(out)
end

return called, reply
