import { toJsxRuntime } from "hast-util-to-jsx-runtime";
import { memo, useEffect, useState, type ReactNode } from "react";
import { Fragment, jsx, jsxs } from "react/jsx-runtime";
import ReactMarkdown from "react-markdown";
import remarkGfm from "remark-gfm";

// What a model says, as Markdown. HTML in it stays text, addresses that run
// scripts are dropped, and images become links: loading one would tell its
// server what the conversation is about.
export const Markdown = memo(function Markdown({ text }: { text: string }) {
  return (
    <div className="markdown">
      <ReactMarkdown
        remarkPlugins={[remarkGfm]}
        components={{
          a: ({ href, children }) => <Link href={href}>{children}</Link>,
          img: ({ src, alt }) => <Link href={typeof src === "string" ? src : undefined}>{alt || src}</Link>,
          table: ({ children }) => <div className="scroll" tabIndex={0} role="region"><table>{children}</table></div>,
          code: ({ className, children }) => {
            const language = /language-([\w+#-]+)/.exec(className ?? "")?.[1];
            return language ? <Code language={language} text={String(children).replace(/\n$/, "")} /> : <code>{children}</code>;
          },
        }}
      >
        {text}
      </ReactMarkdown>
    </div>
  );
});

/** A link shows where it leads, whatever its text says. */
function Link({ href, children }: { href?: string; children: ReactNode }) {
  let host = "";
  try {
    host = href ? new URL(href).host : "";
  } catch {
    // Not an address of its own: shown as text.
  }
  if (!host) return <>{children}</>;
  return <><a href={href} target="_blank" rel="noopener noreferrer nofollow">{children}</a><span className="host"> ({host})</span></>;
}

/** Code is highlighted once the highlighter has been loaded; until then, and in unknown languages, it is plain. */
function Code({ language, text }: { language: string; text: string }) {
  const [shown, setShown] = useState<{ text: string; nodes: ReactNode }>();
  useEffect(() => {
    let current = true;
    void import("lowlight")
      .then(({ common, createLowlight }) => {
        const lowlight = createLowlight(common);
        if (current && lowlight.registered(language)) {
          setShown({ text, nodes: toJsxRuntime(lowlight.highlight(language, text), { Fragment, jsx, jsxs }) });
        }
      })
      .catch(() => {}); // plain is good enough
    return () => {
      current = false;
    };
  }, [language, text]);
  return <code data-language={language}>{shown?.text === text ? shown.nodes : text}</code>;
}
